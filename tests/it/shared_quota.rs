//! One quota for all processes of a ledger, and a rate that follows what the API allows.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokenferry::simulator::{Fault, RateLimit, Simulator};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::support::bed::{Bed, ended};

/// Forty requests in two seconds, each with one batch of ten tokens.
const QUOTA: &str = "api.rate_limit.requests = 40
    api.rate_limit.per = \"2s\"
    batch.max_tokens = 10
    source.page_size = 100";

async fn strict_bed() -> Bed {
    // A few more, for requests that travel at different speeds on a busy machine. Two processes with a quota
    // each would send many more.
    let limit = RateLimit::new(52, Duration::from_secs(2));
    Bed::with(Simulator::builder().rate_limit(limit)).await.set(QUOTA)
}

/// `migrate` under another name: to another part of the source, so that the two share nothing but the quota.
fn migration(bed: &Bed, name: &str, rows: &str) -> Command {
    let mut command = bed.command(&["migrate", "--json", "-v"]);
    command
        .env("TOKENFERRY__MIGRATION", name)
        .env("TOKENFERRY__SOURCE__WHERE", rows);
    command
}

/// A bed with a ledger, in which nothing has been sent yet.
async fn bed(settings: &str) -> Bed {
    let bed = Bed::new().await.set(settings);
    bed.migrate().await.ended_with(0);
    bed
}

/// Waits until a query says yes.
async fn until(bed: &Bed, query: &str) {
    let waiting = timeout(Duration::from_secs(30), async {
        while bed.number(&format!("select count(*) from ({query}) found")).await == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("not in time: {query}"));
}

#[tokio::test]
async fn processes_with_one_ledger_use_one_quota_and_nearly_all_of_it() {
    let bed = strict_bed().await;
    bed.user_rows(1, 200).await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(1001, 2200).await;
    let before = bed.api.requests().all().len();
    // Made before any of them starts: each writes the configuration anew.
    let mut commands = [
        migration(&bed, "one", "id between 1001 and 1400"),
        migration(&bed, "two", "id between 1401 and 1800"),
        migration(&bed, "three", "id between 1801 and 2200"),
        bed.command(&["verify", "--json", "--sample", "100"]),
    ];
    let [one, two, three, verified] = commands.each_mut().map(Command::output);
    let (one, two, three, verified) = tokio::join!(ended(one), ended(two), ended(three), ended(verified));
    for ran in [one, two, three] {
        let ran = ran.ended_with(0).json();
        assert_eq!(
            (&ran["tokens"]["committed"], &ran["rate_limited"]),
            (&json!(400), &json!(0))
        );
    }
    verified.ended_with(0);
    assert_eq!(bed.api.rate_limited(), 0);
    // Each of them would use all of the quota by itself, so nearly all is used until the last one ends.
    let requests = bed.api.requests();
    let sent = &requests.all()[before..];
    assert!(sent.len() >= 220, "{}", sent.len());
    let took = sent[sent.len() - 1].at.duration_since(sent[0].at).as_secs_f64();
    let used = sent.len() as f64 / (20.0 * took);
    assert!(used > 0.6, "{used} of the quota, in {took} s");
}

#[tokio::test]
async fn each_process_has_a_quota_of_its_own_where_they_are_not_shared() {
    let bed = Bed::new().await.set("api.rate_limit.share = false");
    bed.user_rows(1, 500).await;
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.number("select count(*) from tokenferry.quotas").await, 0);
}

#[tokio::test]
async fn a_429_holds_the_other_processes_and_the_next_run() {
    let bed = bed(QUOTA).await;
    bed.user_rows(1, 100).await;
    bed.api
        .script([Fault::None, Fault::RateLimited(Duration::from_secs(4))]);
    let process = bed.spawn_migrate();
    until(
        &bed,
        "select from tokenferry.quotas where held_until > now() + interval '1 second'",
    )
    .await;
    let held = Instant::now();
    kill(
        Pid::from_raw(process.id().unwrap().cast_signed()),
        Signal::SIGTERM,
    )
    .unwrap();
    ended(process.wait_with_output()).await.ended_with(143);
    let before = bed.api.requests().all().len();
    bed.migrate().await.ended_with(0);
    let requests = bed.api.requests();
    let first = &requests.all()[before];
    // The hold was noticed within a second.
    let waited = first.at.duration_since(held);
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_moment_that_was_reserved_before_a_hold_is_void() {
    let bed = bed("api.rate_limit.requests = 1\napi.rate_limit.per = \"3s\"\nbatch.max_tokens = 10").await;
    bed.user_rows(1, 40).await;
    let process = bed.spawn_migrate();
    // The second request has reserved its moment, three seconds from now, and waits for it.
    until(
        &bed,
        "select from tokenferry.quotas where name like 'calls %' and tat > now() + interval '4 seconds'",
    )
    .await;
    let reserved = bed.api.requests().all().len();
    bed.sql(
        "update tokenferry.quotas set held_until = now() + interval '6 seconds', generation = generation + 1
         where name like 'calls %'",
    )
    .await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        bed.api.requests().all().len(),
        reserved,
        "it left during the hold"
    );
    let ran = timeout(Duration::from_secs(60), process.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(ran.status.success());
}

#[tokio::test]
async fn other_settings_for_a_quota_in_use_end_with_2() {
    let bed = bed("api.rate_limit.requests = 10\nbatch.max_tokens = 5").await;
    bed.user_rows(1, 1000).await;
    let process = bed.spawn_migrate();
    until(&bed, "select from tokenferry.quotas where tat > now()").await;
    let mut other = migration(&bed, "other", "id > 1000");
    let other = other.env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "20");
    let refused = ended(other.output()).await.ended_with(2);
    for part in [
        "`api.rate_limit` is shared with process ",
        "(migration \\\"test\\\")",
        "10 requests per 1s",
        "20 requests per 1s",
        "api.rate_limit.share = false",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(
        bed.number("select count(*) from tokenferry.runs where migration = 'other'")
            .await,
        0
    );
    // Processes that leave from different addresses, or that want none of it, are not concerned.
    for (key, value) in [("EGRESS", "elsewhere"), ("SHARE", "false")] {
        let mut other = migration(&bed, "other", "id > 1000");
        other
            .env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "20")
            .env(format!("TOKENFERRY__API__RATE_LIMIT__{key}"), value);
        ended(other.output()).await.ended_with(0);
    }
    kill(
        Pid::from_raw(process.id().unwrap().cast_signed()),
        Signal::SIGTERM,
    )
    .unwrap();
    ended(process.wait_with_output()).await.ended_with(143);
    // Once nobody uses it, the new settings take effect.
    let mut other = migration(&bed, "other", "id > 1000");
    let other = other.env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "20");
    ended(other.output()).await.ended_with(0);
    assert_eq!(
        bed.texts("select requests::text from tokenferry.quotas where name like 'calls %' and name not like '%elsewhere'")
            .await,
        ["20"]
    );
}

#[tokio::test]
async fn settings_that_change_under_a_run_end_it_with_2() {
    let bed = bed("api.rate_limit.requests = 10\nbatch.max_tokens = 5").await;
    bed.user_rows(1, 1000).await;
    let process = bed.spawn_migrate();
    until(&bed, "select from tokenferry.quotas where tat > now()").await;
    // As another process does that found it idle and uses it now.
    bed.sql("update tokenferry.quotas set requests = 77, used_by = 'process 7 on elsewhere', tat = now() + interval '1 second' where name like 'calls %'")
        .await;
    let ended = tokio::spawn(ended(process.wait_with_output()));
    while !ended.is_finished() {
        bed.sql("update tokenferry.quotas set tat = now() + interval '1 second' where requests = 77")
            .await;
        sleep(Duration::from_millis(100)).await;
    }
    let ran = ended.await.unwrap().ended_with(2);
    assert!(ran.stderr.contains("process 7 on elsewhere"), "{}", ran.stderr);
    assert_eq!(ran.json()["status"], "interrupted");
}

#[tokio::test]
async fn repeated_429s_lower_the_rate_and_the_report_says_so() {
    for share in [true, false] {
        let bed = Bed::new().await.set(&format!(
            "api.rate_limit.requests = 100\napi.rate_limit.per = \"10s\"\napi.rate_limit.share = {share}\nbatch.max_tokens = 10\nbatch.concurrency = 1"
        ));
        bed.user_rows(1, 50).await;
        let wait = Duration::from_millis(1);
        bed.api
            .script([Fault::RateLimited(wait), Fault::None, Fault::RateLimited(wait)]);
        let ran = bed.migrate().await.ended_with(0);
        assert!(
            ran.stderr.contains("sending requests at a lower rate"),
            "{}",
            ran.stderr
        );
        let events = bed
            .texts("select detail from tokenferry.run_events where kind = 'rate_changed'")
            .await;
        assert_eq!(events, ["calls: 80 requests per 10s"], "{share}");
        if share {
            // The next run begins with it, and so does its estimate.
            bed.user_rows(51, 450).await;
            let dry = bed
                .run(&["migrate", "--dry-run", "--json"])
                .await
                .ended_with(0)
                .json();
            let expected = dry["estimate"]["duration_s"].as_f64().unwrap();
            // 40 requests, 0.127 s apart.
            assert!((4.8..5.1).contains(&expected), "{expected}");
        }
    }
}

#[tokio::test]
async fn the_rate_rises_to_the_ceiling_once_and_what_is_found_stays() {
    let bed = Bed::new().await.set(
        "api.rate_limit.requests = 20\napi.rate_limit.per = \"500ms\"\napi.rate_limit.ceiling = 60\nbatch.max_tokens = 10\nbatch.concurrency = 1",
    );
    bed.user_rows(1, 2000).await;
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("sending requests at a higher rate"),
        "{}",
        ran.stderr
    );
    let best = "select (best_step * 1000)::bigint from tokenferry.quotas where name like 'calls %'";
    let step = "select (step * 1000)::bigint from tokenferry.quotas where name like 'calls %'";
    assert_eq!(bed.number(best).await, 8);
    let found = bed.number(step).await;
    assert!((8..25).contains(&found), "{found}");
    // The API does not allow that much.
    bed.user_rows(2001, 2020).await;
    bed.api.script([Fault::RateLimited(Duration::from_millis(1))]);
    bed.migrate().await.ended_with(0);
    let (best, step) = (bed.number(best).await, bed.number(step).await);
    assert!(best > 8 && best <= 25 && step == best, "{best} {step}");
}
