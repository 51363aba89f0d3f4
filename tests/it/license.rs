//! The licence handshake: once per process, on every call, and never a reason to fail.

use serde_json::json;
use std::time::Duration;
use tokenferry::simulator::{Barrier, Fault, RateLimit, Simulator, SimulatorHandle};
use tokio::time::Instant;

use crate::support::{
    bed::{Bed, Ran, ended},
    http,
};

/// Which tiers the calls so far named, and how often the licence was asked for.
fn named(api: &SimulatorHandle) -> (Vec<Option<String>>, usize) {
    let log = api.requests();
    let mut tiers: Vec<_> = log.all().iter().map(|request| request.license.clone()).collect();
    tiers.sort();
    tiers.dedup();
    (tiers, api.license_requests().all().len())
}

#[tokio::test]
async fn every_command_that_talks_to_the_api_asks_once_and_names_the_tier_on_every_call() {
    let bed = Bed::with(Simulator::builder().license("tier3")).await;
    bed.rows(1, 300).await;
    bed.run(&["migrate", "--dry-run"]).await.ended_with(0);
    assert_eq!(named(&bed.api), (vec![], 0), "it does not talk to the API");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!((&ran["lookups"], &ran["requests"]), (&json!(1), &json!(4)));
    bed.run(&["verify"]).await.ended_with(0);
    bed.run(&["migrate", "--dry-run", "--online"]).await.ended_with(0);
    bed.run(&["doctor"]).await.ended_with(0);
    bed.run(&["rollback", "--run", &ran["run_id"].to_string(), "--yes"])
        .await
        .ended_with(0);
    assert_eq!(named(&bed.api), (vec![Some("tier3".to_owned())], 5));
    let license = bed.api.license_requests();
    assert!(license.all().iter().all(|request| request.license.is_none()));
}

#[tokio::test]
async fn a_handshake_that_fails_is_warned_of_once_and_costs_a_moment() {
    let faults = [
        (Fault::Status(500), "http_500"),
        (Fault::Status(404), "http_404"),
        (Fault::Status(403), "http_403"),
        (Fault::CutAfterCommit, "connection_lost"),
        (Fault::RateLimited(Duration::from_secs(3600)), "rate_limited"),
        // Longer than it is waited for, and than the test would be.
        (Fault::Delay(Duration::from_secs(600)), "timeout"),
        (answer("{}"), "http_200"),
        (answer(r#"{"message":"Forbidden"}"#), "http_200"),
        (answer(r#"{"rateLimitTier":""}"#), "http_200"),
        (answer(r#"{"rateLimitTier":"a\nb"}"#), "http_200"),
    ];
    let bed = Bed::new().await;
    for (position, (fault, code)) in (0..).zip(faults) {
        bed.user_rows(position * 10 + 1, position * 10 + 10).await;
        bed.api.script_licenses([fault.clone()]);
        let begin = Instant::now();
        let ran = bed.migrate().await.ended_with(0);
        assert!(begin.elapsed() < Duration::from_secs(60), "{fault:?}");
        assert_eq!(ran.json()["tokens"]["committed"], 10, "{fault:?}");
        let warnings: Vec<_> = ran
            .stderr
            .lines()
            .filter(|line| line.contains("does not report the project's rate-limit tier"))
            .collect();
        assert_eq!(warnings.len(), 1, "{fault:?}: {}", ran.stderr);
        assert!(warnings[0].contains(code), "{fault:?}: {}", warnings[0]);
    }
    assert_eq!(named(&bed.api), (vec![None], 10));
    bed.assert_arrived_once().await;
}

fn answer(body: &str) -> Fault {
    Fault::Answer {
        status: 200,
        body: body.to_owned(),
        committed: false,
    }
}

#[tokio::test]
async fn a_tier_that_changes_under_a_run_is_asked_for_again_and_named_from_then_on() {
    let simulator = Simulator::builder().license("tier1").refuse_wrong_license();
    let bed = Bed::with(simulator).await;
    bed.user_rows(1, 1000).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let bed = bed.set("batch.concurrency = 4\nbatch.max_tokens = 20\napi.rate_limit.requests = 40");
    let running = bed.spawn_migrate();
    gate.reached().await;
    bed.api.set_license("tier4");
    gate.release();
    let ran = Ran::from(running.wait_with_output().await.unwrap()).ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 1000);
    bed.assert_arrived_once().await;
    assert_eq!(
        bed.api.license_requests().all().len(),
        2,
        "whoever was refused, one asks"
    );
    let log = bed.api.requests();
    let last = log.all().last().unwrap();
    assert_eq!(last.license.as_deref(), Some("tier4"));
    // Reading tokens back is refused, too, and tried again.
    bed.api.set_license("tier2");
    let verified = bed.run(&["verify", "--json"]).await.ended_with(0).json();
    assert_eq!(verified["tokens"]["failed"], 0);
}

#[tokio::test]
async fn where_the_tier_is_the_same_a_refusal_is_one_of_the_credentials() {
    for status in [401, 403] {
        let bed = Bed::new().await.set("batch.concurrency = 1");
        bed.user_rows(1, 300).await;
        bed.api.script([Fault::None, Fault::Status(status)]);
        let ran = bed.migrate().await.ended_with(4).json();
        assert!(
            ran["stop_reason"].as_str().unwrap().contains("credentials"),
            "{ran}"
        );
        assert_eq!(bed.api.requests().to("/upload"), 2, "{status}");
        assert_eq!(bed.api.license_requests().all().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn the_call_pays_the_quota_like_any_other() {
    // Five in two seconds; the stand-in refuses what comes faster.
    let limit = RateLimit::new(5, Duration::from_secs(2));
    let bed = Bed::with(Simulator::builder().rate_limit(limit)).await;
    bed.user_rows(1, 140).await;
    let bed = bed.set("batch.max_tokens = 10\napi.rate_limit.requests = 5\napi.rate_limit.per = \"2s\"");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!((&ran["requests"], &ran["rate_limited"]), (&json!(14), &json!(0)));
}

#[tokio::test]
async fn the_stand_in_puts_who_names_no_tier_or_a_wrong_one_into_the_lowest_bucket() {
    let one = RateLimit::new(1, Duration::from_secs(60));
    let simulator = Simulator::builder().license("tier3").tier_limit("tier1", one);
    let simulator = simulator.start().await.unwrap();
    let get = async |tier: Option<&str>| {
        let key = simulator.management_key().reveal();
        let mut request = http::client()
            .get(format!("{}/v1/mgmt/outbound/apps", simulator.base_url()))
            .bearer_auth(format!("{}:{key}", simulator.project_id()));
        if let Some(tier) = tier {
            request = request.header("x-descope-license", tier);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(get(None).await, 200);
    assert_eq!(get(None).await, 429);
    assert_eq!(get(Some("tier2")).await, 429);
    for _ in 0..3 {
        assert_eq!(get(Some("tier3")).await, 200);
    }
    simulator.set_license("tier2");
    assert_eq!(get(Some("tier3")).await, 429);
    assert_eq!(get(Some("tier2")).await, 200);
    assert_eq!(simulator.rate_limited(), 3);

    let strict = Simulator::builder().license("tier3").refuse_wrong_license();
    let simulator = strict.start().await.unwrap();
    let get = async |tier: &str| {
        let key = simulator.management_key().reveal();
        let request = http::client()
            .get(format!("{}/v1/mgmt/outbound/apps", simulator.base_url()))
            .bearer_auth(format!("{}:{key}", simulator.project_id()))
            .header("x-descope-license", tier);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((get("tier1").await, get("tier3").await), (403, 200));
}

#[tokio::test]
async fn without_the_tier_a_run_would_crawl() {
    // Under the lowest tier it would take minutes.
    let simulator = Simulator::builder()
        .license("tier2")
        .tier_limit("tier1", RateLimit::new(2, Duration::from_secs(60)))
        .tier_limit("tier2", RateLimit::new(1000, Duration::from_secs(1)));
    let bed = Bed::with(simulator).await;
    bed.user_rows(1, 1000).await;
    let ran = ended(bed.command(&["migrate", "--json"]).output())
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["rate_limited"], 0);
    bed.assert_arrived_once().await;
}
