//! The first tokens go one by one, and only if they arrive does the bulk open.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::{sleep, timeout};

use crate::support::bed::{Bed, Ran, TOKEN};

const SINGLE: &str = "/oauthtoken/upload";
const BATCH: &str = "/oauthtoken/batch/upload";

async fn migrate(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut all = vec!["migrate", "--json", "-v"];
    all.extend(arguments);
    bed.run(&all).await
}

/// Refresh tokens that their provider does not know any more.
async fn dead_rows(bed: &Bed, ids: &str) {
    bed.sql(&format!(
        "update legacy_tokens set refresh_token = 'dead-' || refresh_token where id in ({ids})"
    ))
    .await;
    bed.api
        .change_rules(|rules| rules.dead_refresh_prefix = Some("dead-".to_owned()));
}

async fn revive(bed: &Bed) {
    bed.sql("update legacy_tokens set refresh_token = replace(refresh_token, 'dead-', '')")
        .await;
}

/// Which of the requests so far went to the single endpoints, in order.
fn singles(bed: &Bed) -> Vec<bool> {
    let requests = bed.api.requests();
    requests
        .all()
        .iter()
        .map(|request| request.path.ends_with(SINGLE))
        .collect()
}

#[tokio::test]
async fn a_good_canary_is_followed_by_the_bulk_in_the_same_run() {
    let bed = Bed::new().await;
    bed.rows(1, 500).await;
    let ran = migrate(&bed, &["--canary", "15"]).await.ended_with(0);
    assert!(ran.stderr.contains("copy may stop working"), "{}", ran.stderr);
    assert!(ran.stderr.contains("canary succeeded"), "{}", ran.stderr);
    let ran = ran.json();
    assert_eq!(ran["tokens"]["committed"], 500);

    let singles = singles(&bed);
    assert!(singles[..15].iter().all(|single| *single), "{singles:?}");
    assert!(singles[15..].iter().all(|single| !single), "{singles:?}");
    assert_eq!(ran["requests"], json!(singles.len()));
    let requests = bed.api.requests();
    assert_eq!(requests.to(&format!("/tenant{SINGLE}")), 1, "row 10");
    let batched: usize = requests.batch_sizes().iter().sum();
    assert_eq!(batched, 485);
    let verifies = bed.api.verifies();
    assert_eq!(verifies.len(), 15);
    assert!(verifies.values().all(|count| *count == 1));
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn one_of_them_leaves_when_the_one_before_has_its_end() {
    let bed = Bed::new()
        .await
        .set("batch.concurrency = 8\napi.timeout = \"20s\"");
    bed.rows(1, 50).await;
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let child = bed.command(&["migrate", "--canary", "10"]).spawn().unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    sleep(Duration::from_millis(400)).await;
    assert_eq!(bed.api.requests().all().len(), 2);
    gate.release();
    let ran: Ran = child.wait_with_output().await.unwrap().into();
    ran.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn too_many_failures_stop_the_run_before_anything_of_the_bulk_leaves() {
    let bed = Bed::new().await;
    bed.rows(1, 300).await;
    dead_rows(&bed, "3, 7").await;
    let ran = migrate(&bed, &["--canary", "10", "--canary-failures", "1"])
        .await
        .ended_with(4);
    let json = ran.json();
    assert_eq!(
        (
            &json["status"],
            &json["tokens"]["committed"],
            &json["tokens"]["failed"]
        ),
        (&json!("stopped"), &json!(8), &json!(2))
    );
    assert_eq!(json["failures_by_code"], json!({"E152110": 2}));
    let reason = json["stop_reason"].as_str().unwrap();
    for part in [
        "2 of its 10 tokens failed, 1 may",
        "E152110: Request is invalid: the provider refused the refresh token",
        "migrate --canary 10",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(
        (bed.api.requests().to(SINGLE), bed.api.requests().to(BATCH)),
        (10, 0)
    );
    assert!(!ran.stderr.contains(TOKEN) && !bed.ledger_dump().await.contains(TOKEN));

    revive(&bed).await;
    let next = migrate(&bed, &["--canary", "10"]).await.ended_with(0).json();
    assert_eq!(
        (&next["resumed"], &next["run_id"], &next["tokens"]["committed"]),
        (&json!(true), &json["run_id"], &json!(300))
    );
    assert_eq!(
        bed.api.requests().to(SINGLE),
        20,
        "a canary of this process's own, which begins with what failed"
    );
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn failures_that_are_allowed_for_do_not_hold_the_bulk_back() {
    let bed = Bed::new().await;
    bed.rows(1, 300).await;
    dead_rows(&bed, "3, 7, 200").await;
    let ran = migrate(&bed, &["--canary", "10", "--canary-failures", "2"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(298), &json!(2)),
        "nobody asks to verify what goes in a batch"
    );
    assert_eq!(bed.api.requests().to(SINGLE), 10);
}

#[tokio::test]
async fn where_there_are_fewer_all_of_them_go_one_by_one() {
    let bed = Bed::new().await;
    bed.rows(1, 7).await;
    let ran = migrate(&bed, &["--canary", "20"]).await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 7);
    assert_eq!(
        (bed.api.requests().to(SINGLE), bed.api.requests().to(BATCH)),
        (7, 0)
    );

    bed.rows(8, 12).await;
    dead_rows(&bed, "9").await;
    let ran = migrate(&bed, &["--canary", "20"]).await.ended_with(4).json();
    let reason = ran["stop_reason"].as_str().unwrap();
    assert!(reason.contains("1 of its 5 tokens"), "{reason}");
    // Nothing is left for the run but to end.
    let next = migrate(&bed, &[]).await.ended_with(3).json();
    assert_eq!(
        (&next["run_id"], &next["status"]),
        (&ran["run_id"], &json!("completed_with_failures"))
    );
}

#[tokio::test]
async fn nothing_to_send_is_no_failure() {
    let bed = Bed::new().await;
    migrate(&bed, &["--canary", "5"]).await.ended_with(0);
    bed.user_rows(1, 10).await;
    migrate(&bed, &[]).await.ended_with(0);
    let again = migrate(&bed, &["--canary", "5"]).await.ended_with(0).json();
    assert_eq!(
        (&again["requests"], &again["status"]),
        (&json!(0), &json!("completed"))
    );
}

#[tokio::test]
async fn a_limit_may_end_the_run_within_the_canary_or_right_behind_it() {
    for (limit, single, batch) in [("4", 4, 0), ("10", 10, 0), ("25", 10, 2)] {
        let bed = Bed::new().await;
        bed.rows(1, 100).await;
        let ran = migrate(&bed, &["--canary", "10", "--limit", limit])
            .await
            .ended_with(0)
            .json();
        assert_eq!(ran["status"], "interrupted", "{limit}");
        let requests = bed.api.requests();
        assert_eq!(
            (requests.to(SINGLE), requests.to(BATCH)),
            (single, batch),
            "{limit}"
        );
        migrate(&bed, &[]).await.ended_with(0);
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn what_failed_before_can_be_a_canary_too() {
    let bed = Bed::new().await;
    bed.rows(1, 100).await;
    bed.sql("update legacy_tokens set provider = null where id <= 40")
        .await;
    migrate(&bed, &[]).await.ended_with(3);
    bed.sql("update legacy_tokens set provider = 'google'").await;
    // The first, whatever order keys are taken in.
    dead_rows(&bed, "1").await;
    let ran = migrate(&bed, &["--only-failed", "--canary", "5"])
        .await
        .ended_with(4)
        .json();
    assert_eq!(ran["tokens"]["committed"], 4);
    revive(&bed).await;
    let ran = migrate(&bed, &["--only-failed", "--canary", "5"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["tokens"]["committed"], 36);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn whatever_happens_to_one_of_them_it_is_written_once() {
    for fault in [
        Fault::CutBeforeCommit,
        Fault::CutAfterCommit,
        Fault::Unreadable,
        Fault::Truncated,
        Fault::Status(502),
        Fault::StatusAfterCommit(500),
        Fault::CommitLate(Duration::from_millis(500)),
        Fault::RateLimited(Duration::from_secs(1)),
    ] {
        let name = format!("{fault:?}");
        let bed = Bed::new().await;
        bed.rows(1, 30).await;
        bed.api.script([Fault::None, fault]);
        let ran = migrate(&bed, &["--canary", "5"]).await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 30, "{name}");
        assert_eq!(bed.api.scripted(), 0, "{name} was not met");
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn an_api_that_never_answers_is_no_canary_that_arrived() {
    let bed = Bed::new()
        .await
        .set("api.retry.max_attempts = 2\nstop.after_failed_batches = 100");
    bed.rows(1, 200).await;
    bed.api.script(std::iter::repeat_n(Fault::Status(503), 4 * 3));
    let ran = migrate(&bed, &["--canary", "3"]).await.ended_with(4).json();
    let reason = ran["stop_reason"].as_str().unwrap();
    assert!(
        reason.contains("3 of its 3 tokens") && reason.contains("http_503"),
        "{reason}"
    );
    assert_eq!(bed.api.requests().to(BATCH), 0);
    migrate(&bed, &["--canary", "3"]).await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_canary_that_is_killed_is_settled_and_another_one_goes_on() {
    for committed in [true, false] {
        let bed = Bed::new().await;
        bed.rows(1, 200).await;
        let gate = Barrier::new();
        let hold = if committed {
            Fault::Hold(gate.clone())
        } else {
            Fault::HoldBeforeCommit(gate.clone())
        };
        bed.api.script([Fault::None, Fault::None, hold]);
        let mut child = bed.command(&["migrate", "--canary", "8"]).spawn().unwrap();
        timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
        child.kill().await.unwrap();
        if !committed {
            tokio::spawn(async move {
                sleep(Duration::from_millis(400)).await;
                gate.release();
            });
        }
        let next = migrate(&bed, &["--canary", "8"]).await.ended_with(0).json();
        assert_eq!(
            (&next["resumed"], &next["tokens"]["committed"]),
            (&json!(true), &json!(200))
        );
        assert_eq!(bed.api.requests().to(SINGLE), 3 + 8);
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_canary_that_proves_nothing_is_wrong_usage() {
    let bed = Bed::new().await;
    for (arguments, says) in [
        (vec!["--canary", "0"], "--canary"),
        (vec!["--canary-failures", "1"], "--canary"),
        (
            vec!["--canary", "3", "--canary-failures", "3"],
            "otherwise the canary can never fail",
        ),
    ] {
        let ran = migrate(&bed, &arguments).await.ended_with(2);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
}
