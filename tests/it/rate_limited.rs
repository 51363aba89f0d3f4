//! Answers 429: they always make us wait, blame no token, and end a run only if they never end.

use std::time::Duration;

use tokenferry::simulator::Fault;

use crate::support::bed::Bed;

/// Waits that are none: each would have us ask again at once, if it were taken at its word.
const NO_WAITS: [&str; 8] = [
    "0",
    "0.0",
    "-1",
    "",
    "soon",
    "1e0",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Thu, 01 Jan 2037 00:00:00",
];

fn limited(retry_after: &str, times: usize) -> Vec<Fault> {
    vec![Fault::RetryAfter(retry_after.to_owned()); times]
}

/// How long after each other requests to these paths arrived.
fn gaps(bed: &Bed, path_end: &str) -> Vec<Duration> {
    let requests = bed.api.requests();
    let times: Vec<_> = requests
        .all()
        .iter()
        .filter(|request| request.path.ends_with(path_end))
        .map(|request| request.at)
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[track_caller]
fn assert_growing(gaps: &[Duration], retry_after: &str) {
    // Half of 40, 80, 160 and 320 ms.
    for (gap, least) in gaps.iter().zip([20, 40, 80, 160]) {
        assert!(*gap >= Duration::from_millis(least), "{retry_after:?}: {gaps:?}");
    }
}

const DELAYS: &str =
    "api.retry.initial_interval = \"40ms\"\napi.retry.max_interval = \"10s\"\nbatch.concurrency = 1";

#[tokio::test]
async fn a_wait_that_is_none_is_replaced_by_our_own_growing_one() {
    let mut bed = Bed::new().await.set(DELAYS);
    for (position, header) in NO_WAITS.into_iter().enumerate() {
        let first = i64::try_from(position).unwrap() * 10;
        bed.user_rows(first + 1, first + 10).await;
        bed.api.script(limited(header, 4));
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 10, "{header:?}");
        assert_eq!(ran["rate_limited"], 4, "{header:?}");
        // Five requests in each of the runs before.
        assert_growing(&gaps(&bed, "/upload")[5 * position..], header);
    }
    bed.assert_arrived_once().await;
    // A read-back that is answered like that waits as well, and does not give the batch up.
    bed = bed.set(&format!("{DELAYS}\napi.retry.max_attempts = 5"));
    bed.user_rows(1001, 1010).await;
    bed.api.script([Fault::CutAfterCommit]);
    bed.api.script_reads(limited("0", 4));
    bed.migrate().await.ended_with(0);
    assert_growing(&gaps(&bed, "/token/latest"), "read-back");
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn an_api_that_answers_429_for_ever_stops_the_run_and_blames_no_token() {
    for (retry_after, batches) in [("0", 1), ("soon", 4)] {
        let bed = Bed::new().await.set(&format!(
            "batch.concurrency = {batches}\nstop.after_failed_batches = 100"
        ));
        bed.user_rows(1, 1000).await;
        bed.api.script(limited(retry_after, 1000));
        let ran = bed.migrate().await.ended_with(4).json();
        let reason = ran["stop_reason"].as_str().unwrap();
        assert!(
            reason.contains("429 to one request 20 times in a row"),
            "{reason}"
        );
        assert_eq!(ran["status"], "stopped");
        assert_eq!(ran["tokens"]["failed"], 0);
        assert_eq!(bed.number("select count(*) from tokenferry.tokens").await, 0);
        let in_flight = "select count(*) from tokenferry.batches where state = 'in_flight'";
        assert_eq!(bed.number(in_flight).await, 0);
        // However many are in flight, none is tried more often than that.
        assert!(bed.api.requests().to("/upload") <= batches * 20);
        bed.api.clear_scripts();
        bed.migrate().await.ended_with(0);
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_quota_is_waited_for_even_where_no_failure_is_tried_again() {
    let bed = Bed::new().await.set("api.retry.max_attempts = 1");
    bed.user_rows(1, 300).await;
    bed.api.script(limited("0", 15));
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["rate_limited"]),
        (&300.into(), &15.into())
    );
    bed.assert_arrived_once().await;
    // Nor does a question of which the answer was lost get fewer.
    bed.user_rows(301, 310).await;
    bed.api.script([Fault::StatusAfterCommit(503)]);
    bed.api.script_reads(limited("0", 5));
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
    // For ever is another thing.
    bed.user_rows(311, 320).await;
    bed.api.script(limited("0", 1000));
    let ran = bed.migrate().await.ended_with(4).json();
    assert_eq!(ran["status"], "stopped");
    bed.api.clear_scripts();
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_long_penalty_is_sat_out_however_few_attempts_are_configured_for_failures() {
    let bed = Bed::new().await.set(&format!(
        "{DELAYS}\napi.retry.max_attempts = 3\nbatch.max_tokens = 10"
    ));
    bed.user_rows(1, 20).await;
    // Each batch is answered with 429 twice, then with something that uses up an attempt, twice.
    for _ in 0..2 {
        let mut faults = limited("0", 2);
        faults.push(Fault::CutBeforeCommit);
        faults.extend(limited("0", 2));
        faults.push(Fault::CutBeforeCommit);
        faults.push(Fault::None);
        bed.api.script(faults);
    }
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 20);
    assert_eq!(
        bed.number("select max(attempts)::bigint from tokenferry.batches")
            .await,
        7
    );
    bed.assert_arrived_once().await;
}
