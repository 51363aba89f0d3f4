//! Answers that are lost: nothing is sent twice, nothing is left out.

use serde_json::json;
use tokenferry::simulator::Fault;

use crate::support::bed::Bed;

#[tokio::test]
async fn whatever_happens_to_one_request_every_token_is_written_once() {
    let faults = [
        Fault::CutBeforeCommit,
        Fault::CutAfterCommit,
        Fault::Unreadable,
        Fault::Truncated,
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::StatusAfterCommit(502),
        Fault::StatusAfterCommit(500),
        Fault::StatusAfterCommit(504),
    ];
    for fault in faults {
        let name = format!("{fault:?}");
        let bed = Bed::new().await;
        bed.user_rows(1, 100).await;
        bed.api.script([fault]);
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 100, "{name}");
        assert_eq!(bed.api.scripted(), 0, "{name} was not met");
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_commit_that_lands_after_the_connection_was_lost_is_waited_for() {
    let bed = Bed::new().await;
    bed.user_rows(1, 100).await;
    // Lands within the timeout of one second: "not there" must not be believed before.
    bed.api
        .script([Fault::CommitLate(std::time::Duration::from_millis(500))]);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn tenant_tokens_and_tokens_with_a_refresh_token_only_are_settled_too() {
    let bed = Bed::new().await;
    bed.sql(
        "insert into legacy_tokens (id, provider, tenant_id, refresh_token) select n, 'google', 't' || n, 'refresh-' || n
         from generate_series(1, 20) n;
         insert into legacy_tokens (id, provider, user_id, access_token, refresh_token, expires_at)
         select n, 'google', 'u' || n, 'expired-' || n, 'refresh-' || n, now() - interval '1 day'
         from generate_series(21, 40) n",
    )
    .await;
    bed.api.script([Fault::CutAfterCommit, Fault::CutAfterCommit]);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn resend_does_not_ask() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    bed.api.script([Fault::CutAfterCommit]);
    let bed = bed.set("batch.on_unknown = \"resend\"");
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.api.requests().to("/token/latest"), 0);
    assert!(bed.api.writes().values().all(|&count| count == 2));
}

#[tokio::test]
async fn an_api_that_is_down_for_a_while_gets_everything_in_the_same_run() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    // Longer than one batch's attempts: it is put aside, and gets another chance when the others are through.
    bed.api.script(std::iter::repeat_n(Fault::Status(503), 8));
    let bed = bed.set("batch.concurrency = 1");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 300);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn an_api_that_stays_down_stops_the_run_and_blames_no_token() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2000).await;
    bed.api.script(std::iter::repeat_n(Fault::Status(503), 1000));
    let bed = bed.set("stop.after_failed_batches = 3\napi.retry.max_attempts = 3");
    let ran = bed.migrate().await.ended_with(4).json();
    assert_eq!(ran["status"], "stopped");
    assert_eq!(bed.number("select count(*) from tokenferry.tokens").await, 0);
    bed.api.script(std::iter::empty());
    assert!(
        ran["stop_reason"]
            .as_str()
            .unwrap()
            .contains("3 batches failed in a row"),
        "{ran}"
    );
}

#[tokio::test]
async fn refused_credentials_stop_the_run_at_once_and_the_next_one_goes_on() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2000).await;
    let ran = {
        let mut command = bed.command(&["migrate", "--json"]);
        let output = command
            .env("DESCOPE_MANAGEMENT_KEY", "Kwrong")
            .output()
            .await
            .unwrap();
        crate::support::bed::Ran::from(output).ended_with(4)
    };
    assert_eq!(ran.json()["status"], "stopped");
    assert!(!ran.stdout.contains("Kwrong") && !ran.stderr.contains("Kwrong"));
    assert!(bed.api.requests().all().len() <= 4, "stopped at once");
    assert_eq!(bed.number("select count(*) from tokenferry.tokens").await, 0);
    assert_eq!(
        bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
            .await,
        0
    );
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["resumed"], &ran["tokens"]["committed"]),
        (&json!(true), &json!(2000))
    );
    bed.assert_arrived_once().await;
}
