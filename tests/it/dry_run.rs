//! What would happen, held against what then does.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokenferry::simulator::{Barrier, Fault, LoggedRequest};
use tokio::time::{sleep, timeout};

use crate::support::bed::{Bed, Ran};

async fn dry_run(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut all = vec!["migrate", "--dry-run", "--json", "-v"];
    all.extend(arguments);
    bed.run(&all).await
}

/// Users and tenants, some with several connections, outdated rows near and far, rows that cannot go, and
/// rows that an earlier run has sent: some of them unchanged, some changed since.
async fn mixed_rows(bed: &Bed) {
    bed.rows(1, 900).await;
    bed.sql(
        "update legacy_tokens set external_id = 'work' where id between 31 and 35;
         update legacy_tokens set access_token = repeat('x', 30000) where id = 77",
    )
    .await;
    bed.migrate().await.ended_with(0);
    bed.rows(901, 2600).await;
    bed.sql(
        "update legacy_tokens set access_token = access_token || '-new' where id % 9 = 0 and id < 900;
         update legacy_tokens set user_id = 'user-' || (id - 1), external_id = 'second' where id % 31 = 2;
         update legacy_tokens set user_id = 'user-' || (id - 1), external_id = 'third', tenant_id = 'acme'
                where id % 31 = 3 and user_id is not null;
         update legacy_tokens set user_id = 'user-7', tenant_id = null, external_id = 'n' || id where id between 1500 and 1530;
         update legacy_tokens set user_id = 'user-1701', tenant_id = null, external_id = null,
                updated_at = now() - interval '1 day' where id in (1702, 2391);
         update legacy_tokens set user_id = 'user-2491', tenant_id = null, external_id = null,
                updated_at = now() - interval '1 day' where id in (5, 1204);
         update legacy_tokens set provider = null where id in (1000, 2000);
         update legacy_tokens set access_token = null, refresh_token = null where id % 100 = 42;
         update legacy_tokens set expires_at = '2040-01-01' where id in (700, 2599);
         update legacy_tokens set access_token = repeat('y', 70000) where id = 2222",
    )
    .await;
}

#[tokio::test]
async fn the_estimate_is_what_the_real_run_then_does() {
    for (settings, arguments) in [
        ("source.page_size = 100", vec![]),
        ("source.page_size = 50\nbatch.max_tokens = 40", vec![]),
        ("batch.max_bytes = \"60KiB\"\nbatch.max_tokens = 500", vec![]),
        ("source.page_size = 1000\nbatch.concurrency = 1", vec![]),
        ("source.page_size = 100", vec!["--canary", "130"]),
    ] {
        let bed = Bed::new().await.set(settings);
        mixed_rows(&bed).await;
        let before = bed.api.requests().all().len();

        let dry = dry_run(&bed, &arguments).await.ended_with(3).json();
        assert_eq!(bed.api.requests().all().len(), before, "nothing was sent");
        let mut real = vec!["migrate", "--json"];
        real.extend(arguments);
        let real = bed.run(&real).await.ended_with(3).json();

        assert_eq!(dry["tokens"], real["tokens"], "{settings}");
        assert_eq!(dry["failures_by_code"], real["failures_by_code"], "{settings}");
        assert_eq!(dry["warnings_by_code"], real["warnings_by_code"], "{settings}");
        let estimate = &dry["estimate"];
        assert_eq!(estimate["requests"], real["requests"], "{settings}");
        assert_eq!(estimate["batches"], real["batches"]["committed"], "{settings}");
        let requests = bed.api.requests();
        let single = |request: &&LoggedRequest| request.path.ends_with("/oauthtoken/upload");
        let single = requests.all()[before..].iter().filter(single).count();
        assert_eq!(estimate["single_requests"], json!(single), "{settings}");
        let bytes: usize = requests.all()[before..].iter().map(|request| request.bytes).sum();
        assert_eq!(estimate["bytes"], json!(bytes), "{settings}");
        assert_eq!(
            (&dry["mode"], &dry["status"], &dry["requests"]),
            (&json!("dry_run"), &json!("completed_with_failures"), &json!(0))
        );
        for tokens in ["committed", "failed", "superseded", "unchanged"] {
            assert!(dry["tokens"][tokens].as_i64().unwrap() > 0, "{tokens}: {dry}");
        }
    }
}

#[tokio::test]
async fn the_time_is_that_of_the_configured_rate() {
    let bed = Bed::new()
        .await
        .set("api.rate_limit.requests = 20\napi.rate_limit.per = \"2s\"\nbatch.max_tokens = 10");
    bed.user_rows(1, 210).await;
    let dry = dry_run(&bed, &[]).await.ended_with(0).json();
    let expected = dry["estimate"]["duration_s"].as_f64().unwrap();
    assert!(
        (2.0..2.1).contains(&expected),
        "20 times a tenth of a second: {dry}"
    );
    bed.migrate().await.ended_with(0);
    let requests = bed.api.requests();
    let all = requests.all();
    let took = (all.last().unwrap().at - all[0].at).as_secs_f64();
    assert!((took - expected).abs() < 0.5, "{took} and {expected}");
}

#[tokio::test]
async fn a_dry_run_of_a_part_is_that_part() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1200).await;
    bed.sql("update legacy_tokens set provider = null where id in (5, 600, 601)")
        .await;
    let canary = dry_run(&bed, &["--limit", "50"]).await.ended_with(3).json();
    assert_eq!(
        (
            &canary["status"],
            &canary["tokens"]["committed"],
            &canary["estimate"]["requests"]
        ),
        (&json!("completed_with_failures"), &json!(50), &json!(1))
    );
    bed.migrate().await.ended_with(3);

    // Two of them are one destination's, and one has no row any more.
    bed.sql(
        "update legacy_tokens set provider = 'google' where id in (5, 600);
         update legacy_tokens set user_id = 'user-5' where id = 600;
         delete from legacy_tokens where id = 601",
    )
    .await;
    let dry = dry_run(&bed, &["--only-failed"]).await.ended_with(0).json();
    let none = dry_run(&bed, &["--only-failed", "--code", "no_token"])
        .await
        .ended_with(0)
        .json();
    let real = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(dry["tokens"], real["tokens"]);
    assert_eq!(dry["estimate"]["requests"], real["requests"]);
    assert_eq!(none["tokens"]["selected"], 0);
}

/// Before anything was migrated there is nothing else to list; after that, what a dry run found is listed by
/// its ID.
#[tokio::test]
async fn failures_without_a_run_lead_to_what_a_dry_run_found() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set provider = null where id in (3, 4)")
        .await;
    dry_run(&bed, &[]).await.ended_with(3);
    let listed = bed.run(&["failures"]).await.ended_with(0);
    assert!(listed.stdout.contains("no_app"), "{}", listed.stdout);
    assert!(listed.stderr.contains("2 problems in run 1"), "{}", listed.stderr);
    bed.migrate().await.ended_with(3);
    let listed = bed.run(&["failures"]).await.ended_with(0);
    assert!(!listed.stderr.contains("dry run"), "{}", listed.stderr);
    dry_run(&bed, &[]).await.ended_with(3);
    let listed = bed.run(&["failures"]).await.ended_with(0);
    assert!(
        listed.stderr.contains("2 failed tokens in migration"),
        "{}",
        listed.stderr
    );
    assert!(
        listed.stderr.contains("`tokenferry failures --run 3` lists them"),
        "{}",
        listed.stderr
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_but_its_findings_and_says_the_same_twice() {
    let bed = Bed::new().await.set("source.page_size = 200");
    mixed_rows(&bed).await;
    let before = bed.ledger_without("dry_run").await;
    let first = dry_run(&bed, &[]).await.ended_with(3).json();
    let second = dry_run(&bed, &[]).await.ended_with(3).json();
    assert_eq!(bed.ledger_without("dry_run").await, before);
    assert_ne!(first["run_id"], second["run_id"]);
    assert_eq!(second["resumed"], false);
    for same in [
        "tokens",
        "estimate",
        "failures_by_code",
        "warnings_by_code",
        "superseded_by_code",
    ] {
        assert_eq!(first[same], second[same], "{same}");
    }
    let findings = |run: &Value| {
        format!(
            "select concat_ws(' ', source_key, severity, error_code, reason, app_id, user_id, tenant_id)
             from tokenferry.findings where run_id = {run} order by 1"
        )
    };
    let found = bed.texts(&findings(&first["run_id"])).await;
    assert_eq!(found, bed.texts(&findings(&second["run_id"])).await);
    let left = ["failed", "superseded"].map(|end| first["tokens"][end].as_u64().unwrap());
    assert_eq!(found.len() as u64, left[0] + left[1]);
    assert_eq!(
        bed.number("select count(*) from tokenferry.dry_run_rows").await,
        0
    );

    // What the migration is at is told by real runs; a dry run is asked for by its number.
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["mode"], "migrate");
    let number = first["run_id"].to_string();
    let status = bed
        .run(&["status", "--json", "--run", &number])
        .await
        .ended_with(0)
        .json();
    assert_eq!(status["estimate"], first["estimate"]);
    let text = bed.run(&["status", "--run", &number]).await.ended_with(0).stdout;
    assert!(
        text.contains("would be uploaded") && text.contains("batches"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dry_run_whose_process_is_gone_is_closed_by_the_next() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    dry_run(&bed, &[]).await.ended_with(0);
    bed.sql(
        "insert into tokenferry.runs (migration, mode, holder, progressed_at)
         values ('test', 'dry_run', 'gone', now() - interval '2 hours'), ('test', 'dry_run', 'alive', now());
         insert into tokenferry.dry_run_rows (run_id, source_key)
         select id, '1' from tokenferry.runs where status = 'running'",
    )
    .await;
    dry_run(&bed, &[]).await.ended_with(0);
    let states = bed
        .texts(
            "select holder || ' ' || status || ' ' || (select count(*) from tokenferry.dry_run_rows where run_id = id)
             from tokenferry.runs where holder in ('gone', 'alive') order by id",
        )
        .await;
    assert_eq!(states, ["gone interrupted 0", "alive running 1"]);
}

#[tokio::test]
async fn where_the_source_cannot_name_outdated_rows_they_are_still_told_apart() {
    let bed = Bed::new().await.set("source.page_size = 100");
    bed.user_rows(1, 1000).await;
    // Sent, refused, and so looked at by their keys alone: nobody asks the source about their rivals.
    bed.sql("update legacy_tokens set provider = null").await;
    bed.migrate().await.ended_with(3);
    bed.sql(
        "update legacy_tokens set provider = 'google';
         update legacy_tokens set user_id = 'user-1', updated_at = now() - interval '1 day' where id = 999;
         update legacy_tokens set user_id = 'user-2', updated_at = now() + interval '1 day' where id = 998",
    )
    .await;
    let dry = dry_run(&bed, &["--only-failed"]).await.ended_with(0).json();
    let real = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(dry["tokens"], real["tokens"]);
    assert_eq!(dry["tokens"]["superseded"], 1);
}

#[tokio::test]
async fn a_dry_run_goes_beside_an_active_run_and_neither_minds() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let bed = bed.set("batch.concurrency = 1\napi.timeout = \"20s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    while bed
        .number("select count(*) from tokenferry.tokens where state = 'committed'")
        .await
        < 100
    {
        sleep(Duration::from_millis(10)).await;
    }

    let dry = dry_run(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&dry["tokens"]["unchanged"], &dry["tokens"]["committed"]),
        (&json!(100), &json!(200)),
        "what is in flight has no outcome yet"
    );
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        (&status["mode"], &status["status"]),
        (&json!("migrate"), &json!("running"))
    );

    gate.release();
    let ran: Ran = child.wait_with_output().await.unwrap().into();
    assert_eq!(ran.ended_with(0).json()["tokens"]["committed"], 300);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_signal_ends_a_dry_run_and_a_real_run_leaves_one_alone() {
    let bed = Bed::new().await.set("source.page_size = 1");
    bed.user_rows(1, 20_000).await;
    // Makes the ledger, so that there is something to look into.
    bed.run(&["migrate", "--limit", "1"]).await.ended_with(0);
    let child = bed.command(&["migrate", "--dry-run", "--json"]).spawn().unwrap();
    let running = "select count(*) from tokenferry.runs where mode = 'dry_run' and status = 'running'";
    timeout(Duration::from_secs(30), async {
        while bed.number(running).await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    // A run that begins takes up its own kind alone.
    let real = bed
        .run(&["migrate", "--limit", "1", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(real["resumed"], true);
    assert_eq!(bed.number(running).await, 1);

    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGTERM).unwrap();
    let ran: Ran = timeout(Duration::from_secs(20), child.wait_with_output())
        .await
        .unwrap()
        .unwrap()
        .into();
    let ran = ran.ended_with(143).json();
    assert_eq!(
        (&ran["mode"], &ran["status"]),
        (&json!("dry_run"), &json!("interrupted"))
    );
    let again = bed
        .run(&["migrate", "--limit", "1", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(again["run_id"], real["run_id"]);
}
