//! Answers that are lost: nothing is sent twice, nothing is left out.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};

use crate::support::bed::{Bed, Ran};

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
        // What proxies answer when an upstream resets the connection in the middle of a request.
        Fault::StatusAfterCommit(503),
        Fault::StatusAfterCommit(521),
        Fault::StatusAfterCommit(523),
        Fault::StatusAfterCommit(530),
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

/// Somebody answers 200 in the API's place: whether it stored the tokens is asked, and not taken from that.
#[tokio::test]
async fn an_answer_that_is_not_the_apis_is_neither_a_commit_nor_a_refusal() {
    let bodies = [
        r#"{"error":"upstream unavailable"}"#,
        r#"{"message":"Forbidden"}"#,
        r#"{"success":false}"#,
        r#"{"failures":"none"}"#,
        r#"{"failures":["user-1"]}"#,
        r#"{"failures":[{"message":"no upstream"}]}"#,
        "[null]",
    ];
    let mut bed = Bed::new().await;
    let mut rows = 0;
    for single in [false, true] {
        bed = bed.set(&format!("batch.verify_refresh = {single}"));
        for committed in [false, true] {
            for body in bodies {
                bed.user_rows(rows + 1, rows + 5).await;
                rows += 5;
                bed.api.script([Fault::Answer {
                    status: 200,
                    body: body.to_owned(),
                    committed,
                }]);
                let ran = bed.migrate().await.ended_with(0).json();
                assert_eq!(ran["tokens"]["committed"], 5, "{body} {committed} {single}");
                assert_eq!(bed.api.scripted(), 0, "{body} was not met");
                bed.assert_arrived_once().await;
            }
        }
    }
}

#[tokio::test]
async fn a_read_back_that_is_not_the_apis_answer_does_not_say_that_a_token_is_absent() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.api.script([Fault::CutAfterCommit]);
    let odd = [r#"{"message":"Forbidden"}"#, "{}", "[]", r#"{"error":"x"}"#];
    bed.api.script_reads(odd.map(|body| Fault::Answer {
        status: 200,
        body: body.to_owned(),
        committed: false,
    }));
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_commit_that_lands_after_the_connection_was_lost_is_waited_for() {
    let bed = Bed::new().await;
    bed.user_rows(1, 100).await;
    // Lands within the timeout of one second: "not there" must not be believed before.
    bed.api.script([Fault::CommitLate(Duration::from_millis(500))]);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn tenant_tokens_and_tokens_with_a_refresh_token_only_are_reconciled_too() {
    let bed = Bed::new().await;
    bed.sql(
        "insert into legacy_tokens (id, provider, tenant_id, refresh_token) select n, 'google', 't' || n, 'refresh-' || n
         from generate_series(1, 20) n;
         insert into legacy_tokens (id, provider, user_id, access_token, refresh_token)
         select n, 'google', 'u' || n, 'access-' || n, 'refresh-' || n from generate_series(21, 40) n",
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
        Ran::from(output).ended_with(4)
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

/// A user's plain token and one that the same user has in a tenant: asked for the plain one, the API shows
/// the newer of both.
const TWO_OF_ONE_USER: &str = "
    insert into legacy_tokens (id, provider, user_id, tenant_id, access_token, expires_at) values
        (1, 'google', 'u', null, 'plain', now() + interval '1 day'),
        (2, 'google', 'u', 't', 'in a tenant', now() + interval '1 day')";

#[tokio::test]
async fn two_tokens_of_one_user_are_not_mistaken_for_each_other() {
    for order in ["", "update legacy_tokens set id = 3 - id + 10"] {
        let bed = Bed::new().await;
        bed.sql(TWO_OF_ONE_USER).await;
        bed.sql(order).await;
        bed.user_rows(100, 120).await;
        let bed = bed.set("batch.max_tokens = 1\nbatch.concurrency = 2");
        bed.api.script([Fault::CutAfterCommit]);
        // Without one waiting for the other, the other would be stored before the first is read back.
        bed.api.script_reads([Fault::Delay(Duration::from_millis(300))]);
        bed.migrate().await.ended_with(0);
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn where_another_token_hides_one_witness_the_next_is_asked() {
    let bed = Bed::new().await;
    bed.sql(TWO_OF_ONE_USER).await;
    bed.user_rows(10, 20).await;
    let bed = bed.set("source.where = \"tenant_id is not null\"");
    bed.migrate().await.ended_with(0);
    // The plain one lives longest, and is asked for first.
    bed.sql("update legacy_tokens set expires_at = expires_at + interval '1 day' where id = 1")
        .await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let bed = bed.set("source.where = \"tenant_id is null\"");
    let running = bed.spawn_migrate();
    gate.reached().await;
    // As if the one in the tenant had been stored again meanwhile.
    bed.api
        .alter_stored(|tokens| tokens.sort_by_key(|token| token.destination.tenant_id.is_some()));
    let ran = Ran::from(running.wait_with_output().await.unwrap()).ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 12);
    assert_eq!(bed.api.requests().to("/token/latest"), 2);
    bed.set("").assert_arrived_once().await;
}

#[tokio::test]
async fn where_nothing_but_a_hidden_token_can_be_asked_for_it_is_sent_again_after_the_timeout() {
    let bed = Bed::new().await;
    bed.sql(TWO_OF_ONE_USER).await;
    let bed = bed.set("source.where = \"tenant_id is not null\"");
    bed.migrate().await.ended_with(0);
    bed.api.script([Fault::CutBeforeCommit]);
    let bed = bed.set("source.where = \"tenant_id is null\"");
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("nothing proves whether the batch is stored"),
        "{}",
        ran.stderr
    );
    bed.set("").assert_arrived_once().await;
}

#[tokio::test]
async fn while_one_of_them_is_in_doubt_the_other_is_not_sent() {
    let bed = Bed::new().await;
    bed.sql(TWO_OF_ONE_USER).await;
    bed.user_rows(10, 15).await;
    let bed = bed.set("batch.max_tokens = 1\nbatch.concurrency = 2\napi.retry.max_attempts = 3");
    bed.api.script([Fault::CutAfterCommit]);
    // When it is sent, and once more at the end of the run.
    bed.api.script_reads(std::iter::repeat_n(Fault::Status(503), 6));
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["failures_by_code"], json!({ "outcome_unknown": 2 }));
    assert_eq!(ran["tokens"]["committed"], 6);
    assert_eq!(bed.api.scripted(), 0);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_batch_whose_last_chance_comes_early_does_not_wait_for_the_one_that_pushed_it_out() {
    let bed = Bed::new().await;
    bed.sql(TWO_OF_ONE_USER).await;
    // The plain token is put aside first, and overdue when the one in a tenant is put aside.
    bed.sql("update legacy_tokens set id = 50 where id = 2").await;
    bed.user_rows(10, 12).await;
    bed.user_rows(60, 70).await;
    let bed = bed.set(
        "batch.max_tokens = 1\nbatch.concurrency = 1\nstop.after_failed_batches = 2\napi.retry.max_attempts = 1",
    );
    let down = Fault::Status(503);
    bed.api
        .script([down.clone(), Fault::None, down.clone(), Fault::None, down]);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(bed.api.scripted(), 0);
    assert_eq!(ran["tokens"]["committed"], 16);
    bed.assert_arrived_once().await;
}

/// Statuses that say "not processed" where the service gives them. Without its code, somebody else may have,
/// after it was done.
const ODD: [u16; 12] = [301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 410, 415];

#[tokio::test]
async fn what_was_stored_before_somebody_answered_for_another_path_is_read_back_and_the_run_stops() {
    for status in ODD {
        let bed = Bed::new().await.set("batch.concurrency = 1");
        bed.user_rows(1, 300).await;
        bed.api.script([Fault::None, Fault::StatusAfterCommit(status)]);
        let ran = bed.migrate().await.ended_with(4).json();
        assert_eq!(ran["status"], "stopped", "{status}");
        assert_eq!(
            ran["tokens"]["committed"], 200,
            "{status}: the second batch is known to be stored"
        );
        assert!(
            ran["stop_reason"].as_str().unwrap().contains(&status.to_string()),
            "{status}: {ran}"
        );
        assert_eq!(in_flight(&bed).await, 0, "{status}");
        bed.assert_gone_on_with(300).await;
    }
}

#[tokio::test]
async fn what_was_not_stored_before_somebody_answered_so_goes_up_in_the_next_run() {
    for status in [307, 403, 404] {
        let bed = Bed::new().await.set("batch.concurrency = 1");
        bed.user_rows(1, 300).await;
        bed.api.script([Fault::Status(status)]);
        let ran = bed.migrate().await.ended_with(4).json();
        assert_eq!(ran["tokens"]["committed"], 0, "{status}");
        assert_eq!(
            bed.texts("select state || ' ' || error_code from tokenferry.batches")
                .await,
            [format!("failed http_{status}")]
        );
        bed.assert_gone_on_with(300).await;
    }
}

#[tokio::test]
async fn where_reading_back_is_answered_as_oddly_the_batch_stays_in_flight_for_the_next_process() {
    for status in [302, 401, 404] {
        for fault in [Fault::Status(status), Fault::StatusAfterCommit(status)] {
            let bed = Bed::new()
                .await
                .set("batch.concurrency = 2\napi.settle_grace = \"60s\"");
            bed.user_rows(1, 2000).await;
            bed.api.script(std::iter::repeat_n(fault, 2));
            bed.api
                .script_reads(std::iter::repeat_n(Fault::Status(status), 12));
            let ran = bed.migrate().await.ended_with(4).json();
            assert_eq!(ran["tokens"]["committed"], 0, "{status}");
            let uploads = bed.api.requests().to("/batch/upload");
            assert!(uploads <= 2, "{status}: {uploads} uploads");
            assert!(in_flight(&bed).await >= 1, "{status}");
            let bed = bed.set("");
            bed.api.clear_scripts();
            bed.assert_gone_on_with(2000).await;
        }
    }
}

async fn in_flight(bed: &Bed) -> i64 {
    bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
        .await
}
