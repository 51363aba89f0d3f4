//! Runs over a part of the rows: the failed ones, or a canary's worth.

use serde_json::json;

use crate::support::bed::{Bed, Ran, ended};

#[tokio::test]
async fn only_failed_sends_what_failed_and_nothing_else() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.sql("update legacy_tokens set provider = null where id in (5, 6)")
        .await;
    bed.api.set_refused_users(["user-7", "user-8"]);
    bed.migrate().await.ended_with(3);
    // A row that is new is none of its business.
    bed.user_rows(301, 301).await;
    bed.sql("update legacy_tokens set provider = 'google' where id in (5, 6)")
        .await;
    bed.api.set_refused_users(["user-8"]);

    let ran = bed
        .run(&["migrate", "--only-failed", "--code", "no_app", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 2, "committed": 2, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    let ran = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 2, "committed": 1, "failed": 1, "superseded": 0, "unchanged": 0})
    );
    let history = bed
        .texts(
            "select concat_ws(' ', source_key, attempts, first_seen_at < updated_at) from tokenferry.tokens
             where state = 'failed'",
        )
        .await;
    assert_eq!(history, ["8 2 t"]);

    bed.api.set_refused_users(Vec::<String>::new());
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 301, "committed": 2, "failed": 0, "superseded": 0, "unchanged": 299})
    );
    bed.assert_arrived_once().await;
    assert_eq!(
        bed.run(&["migrate", "--code", "x"]).await.code,
        2,
        "--code goes with --only-failed"
    );
}

/// Whatever decides which rows there are, or what becomes of them: none may be passed over because an
/// unfinished run was.
#[tokio::test]
async fn an_unfinished_run_about_other_rows_is_left_and_a_new_one_begins() {
    for (what, change) in [
        ("where", "source.where = \"id > 0\""),
        ("table", "source.table = \"other_tokens\""),
        ("key", "source.key = \"other_id\""),
        ("session", "source.session = { \"tokenferry.x\" = \"y\" }"),
        (
            "destination",
            "source.columns.user_id = { sql = \"'other-' || user_id\" }",
        ),
        (
            "token",
            "source.columns.access_token = { sql = \"access_token || '-other'\" }",
        ),
        ("apps", "apps = { google = \"other-app\" }"),
    ] {
        let bed = Bed::new().await;
        bed.user_rows(1, 60).await;
        bed.sql(
            "alter table legacy_tokens add other_id bigint unique; update legacy_tokens set other_id = 100 - id;
             alter table legacy_tokens alter other_id set not null;
             create view other_tokens as select * from legacy_tokens",
        )
        .await;
        let bed = bed.set("source.page_size = 10");
        let canary = bed
            .run(&["migrate", "--limit", "30", "--json"])
            .await
            .ended_with(0)
            .json();
        let bed = bed.set(&format!("source.page_size = 10\n{change}"));
        let ran = bed.migrate().await.ended_with(0);
        assert!(
            ran.stderr.contains("selects or maps rows differently"),
            "{what}: {}",
            ran.stderr
        );
        let ran = ran.json();
        assert_ne!(ran["run_id"], canary["run_id"], "{what}");
        assert_eq!(
            (&ran["resumed"], &ran["tokens"]["selected"]),
            (&json!(false), &json!(60)),
            "{what}"
        );
        let left = bed
            .texts("select status || ' ' || stop_reason from tokenferry.runs order by id limit 1")
            .await;
        assert!(left[0].starts_with("interrupted left unfinished: "), "{left:?}");
    }
}

/// Row security, or a search path, may show another role other rows, and the configuration looks the same.
#[tokio::test]
async fn an_unfinished_run_that_read_as_another_role_or_in_other_schemas_is_left() {
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    bed.sql(
        "create schema other; create table other.legacy_tokens as select * from legacy_tokens where id > 20;
             alter table other.legacy_tokens add primary key (id)",
    )
    .await;
    let bed = bed.set("source.page_size = 10\nledger.url = \"env:LEDGER_DATABASE_URL\"");
    let plain = bed.database.url().to_owned();
    let with = |options: &str| {
        let separator = if plain.contains('?') { '&' } else { '?' };
        format!("{plain}{separator}options={options}")
    };
    let run = async |source: &str, arguments: &[&str]| {
        let mut command = bed.command(arguments);
        command
            .env("SOURCE_DATABASE_URL", source)
            .env("LEDGER_DATABASE_URL", &plain);
        ended(command.output()).await.ended_with(0).json()
    };
    let begin = ["migrate", "--limit", "10", "--json"];
    let mut last = run(&plain, &begin).await["run_id"].clone();
    for source in [
        with("-c%20search_path%3Dother,public"),
        with("-c%20role%3Dpg_read_all_data"),
        plain.clone(),
    ] {
        let next = run(&source, &begin).await;
        assert_eq!(next["resumed"], false, "{source}");
        assert_ne!(next["run_id"], last, "{source}");
        // The same goes on.
        let again = run(&source, &begin).await;
        assert_eq!(
            (&again["resumed"], &again["run_id"]),
            (&json!(true), &next["run_id"])
        );
        last = next["run_id"].clone();
    }
}

/// What is said of a run that ended early is true.
#[tokio::test]
async fn only_of_a_run_that_is_gone_on_with_it_is_said_that_the_next_one_does() {
    const GOES_ON: &str = "the next `tokenferry migrate` resumes here";
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    bed.sql("update legacy_tokens set provider = null where id <= 5")
        .await;
    let bed = bed.set("source.page_size = 10\nbatch.max_tokens = 5\nbatch.concurrency = 1");
    let said = async |bed: &Bed, run: &str| bed.run(&["status", "--run", run]).await.ended_with(0).stdout;
    bed.run(&["migrate", "--limit", "10"]).await.ended_with(3);
    assert!(said(&bed, "1").await.contains(GOES_ON));
    bed.sql("update legacy_tokens set provider = 'google'").await;
    bed.run(&["migrate", "--only-failed", "--limit", "2"])
        .await
        .ended_with(0);
    let failed = said(&bed, "2").await;
    assert!(
        failed.contains("interrupted; this run cannot be resumed"),
        "{failed}"
    );
    assert!(said(&bed, "1").await.contains(GOES_ON));
    // Another one takes its place.
    let bed = bed.set("source.page_size = 10\nsource.where = \"id > 0\"");
    bed.run(&["migrate", "--limit", "10"]).await.ended_with(0);
    assert!(!said(&bed, "1").await.contains(GOES_ON));
    assert!(said(&bed, "3").await.contains(GOES_ON));
}

#[tokio::test]
async fn an_unfinished_run_about_the_same_rows_goes_on_whatever_else_changed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    let bed = bed.set("source.page_size = 10");
    bed.run(&["migrate", "--limit", "30"]).await.ended_with(0);
    let bed = bed.set("source.page_size = 7\nbatch.max_tokens = 3\nbatch.concurrency = 1\nsource.statement_timeout = \"50s\"");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["resumed"], &ran["tokens"]["committed"]),
        (&json!(true), &json!(60))
    );
    bed.assert_arrived_once().await;
}

/// Those that were not tried for the longest time come first: the same few that keep failing keep nobody
/// waiting.
#[tokio::test]
async fn only_failed_with_a_limit_takes_turns() {
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    let refused: Vec<String> = (1..=7).map(|user| format!("user-{user}")).collect();
    bed.api.set_refused_users(refused.clone());
    bed.migrate().await.ended_with(3);
    let tried = "select source_key from tokenferry.tokens where attempts > 1 order by source_key";
    for expected in [&["1", "2", "3"][..], &["1", "2", "3", "4", "5", "6"]] {
        let ran = bed
            .run(&["migrate", "--only-failed", "--limit", "3", "--json"])
            .await
            .ended_with(3)
            .json();
        assert_eq!(ran["tokens"]["failed"], 3);
        assert_eq!(bed.texts(tried).await, expected);
    }
    // The last one, and the two whose turn it is again.
    bed.api.set_refused_users(["user-3"]);
    let ran = bed
        .run(&["migrate", "--only-failed", "--limit", "3", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["tokens"]["committed"], 3);
    let failed = "select source_key from tokenferry.tokens where state = 'failed' order by source_key";
    assert_eq!(bed.texts(failed).await, ["3", "4", "5", "6"]);
    // Without a limit each of them is tried once, though some fail again.
    let ran = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test]
async fn a_row_that_failed_and_is_gone_from_the_source_is_not_sent_and_stays_listed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.api.set_refused_users(["user-7", "user-8"]);
    bed.migrate().await.ended_with(3);
    bed.sql("delete from legacy_tokens where id = 7").await;
    bed.api.set_refused_users(Vec::<String>::new());
    let ran = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["tokens"]["selected"], 1);
    assert_eq!(
        bed.texts("select source_key from tokenferry.tokens where state = 'failed'")
            .await,
        ["7"]
    );
}

#[tokio::test]
async fn a_canary_sends_so_many_and_the_next_run_completes_it() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1200).await;
    let canary = bed
        .run(&["migrate", "--limit", "50", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&canary["status"], &canary["tokens"]["committed"]),
        (&json!("interrupted"), &json!(50))
    );
    assert_eq!(bed.api.stored_count(), 50);
    let rest = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&rest["resumed"], &rest["run_id"]),
        (&json!(true), &canary["run_id"])
    );
    assert_eq!(
        rest["tokens"],
        json!({"selected": 1200, "committed": 1200, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    bed.assert_arrived_once().await;
    // A second canary over a settled table has nothing to send, and reads it to its end.
    let again = bed
        .run(&["migrate", "--limit", "50", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&again["status"], &again["tokens"]["unchanged"]),
        (&json!("completed"), &json!(1200))
    );
}

#[tokio::test]
async fn a_canary_that_is_refused_is_no_success() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let mut command = bed.command(&["migrate", "--limit", "5", "--json"]);
    let output = command
        .env("DESCOPE_MANAGEMENT_KEY", "Kwrong")
        .output()
        .await
        .unwrap();
    let ran = Ran::from(output).ended_with(4).json();
    assert_eq!(
        (&ran["status"], &ran["tokens"]["committed"]),
        (&json!("stopped"), &json!(0))
    );
}

#[tokio::test]
async fn an_older_row_goes_up_when_the_newer_one_is_gone() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql(
        "update legacy_tokens set user_id = 'user-2', updated_at = now() - interval '1 day' where id = 1",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["superseded"], 1);
    bed.sql("delete from legacy_tokens where id = 2").await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["superseded"]),
        (&json!(1), &json!(0))
    );
    bed.assert_arrived().await;
}

#[tokio::test]
async fn a_stored_token_stays_committed_until_the_newer_one_has_arrived() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    // A newer row for the destination of row 3 that the API does not take.
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         values (21, 'google', 'user-3', 'newer', now() + interval '1 hour')",
    )
    .await;
    bed.api.set_refused_users(["user-3"]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 21, "committed": 0, "failed": 1, "superseded": 1, "unchanged": 19})
    );
    let state = "select state from tokenferry.tokens where source_key = '3'";
    assert_eq!(bed.texts(state).await, ["committed"]);
    // Taken away again: what is stored is not sent a second time.
    bed.sql("delete from legacy_tokens where id = 21").await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["requests"], &ran["tokens"]["unchanged"]),
        (&json!(0), &json!(20))
    );
    bed.assert_arrived_once().await;
    // Taken: the older one is superseded with it.
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         values (22, 'google', 'user-3', 'newest', now() + interval '1 hour')",
    )
    .await;
    bed.api.set_refused_users(Vec::<String>::new());
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.texts(state).await, ["superseded"]);
    bed.assert_arrived().await;
}

#[tokio::test]
async fn rows_that_are_known_by_keys_of_another_type_are_gone() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    bed.sql("alter table legacy_tokens add email text unique; update legacy_tokens set email = 'p' || id")
        .await;
    let bed = bed.set("source.key = \"email\"");
    bed.migrate().await.ended_with(0);
    let bed = bed.set("source.key = \"id\"");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 3, "committed": 3, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    bed.assert_arrived().await;
    let verified = bed.run(&["verify", "--json"]).await.ended_with(0).json();
    assert_eq!(verified["verify"]["equal"], 3);
}
