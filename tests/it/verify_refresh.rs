//! Every token by itself, each verified at its provider: `batch.verify_refresh`.

use serde_json::json;
use tokenferry::simulator::Fault;

use crate::support::bed::{Bed, TOKEN};

const SINGLE: &str = "/oauthtoken/upload";
const BATCH: &str = "/oauthtoken/batch/upload";

async fn verifying_bed(dead: &str) -> Bed {
    let bed = Bed::new().await;
    bed.rows(1, 120).await;
    bed.sql(&format!(
        "update legacy_tokens set refresh_token = 'dead-' || refresh_token where {dead}"
    ))
    .await;
    bed.api
        .change_rules(|rules| rules.dead_refresh_prefix = Some("dead-".to_owned()));
    bed.set("batch.verify_refresh = true")
}

#[tokio::test]
async fn every_token_goes_by_itself_and_a_refused_one_is_named() {
    let bed = verifying_bed("id = 42").await;
    bed.sql("update legacy_tokens set refresh_token = null where id in (7, 20)")
        .await;
    let ran = bed.migrate().await.ended_with(3);
    assert!(ran.stderr.contains("copy may stop working"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(TOKEN) && !bed.ledger_dump().await.contains(TOKEN));
    let ran = ran.json();
    assert_eq!(
        (&ran["requests"], &ran["tokens"]["committed"]),
        (&json!(120), &json!(119))
    );
    assert_eq!(ran["batches"], json!({"committed": 119, "failed": 1}));
    assert_eq!(
        (bed.api.requests().to(SINGLE), bed.api.requests().to(BATCH)),
        (120, 0)
    );
    let verifies = bed.api.verifies();
    assert_eq!(
        verifies.len(),
        118,
        "what has no refresh token cannot be verified"
    );
    assert!(verifies.values().all(|count| *count == 1));
    assert!(
        verifies
            .keys()
            .all(|place| place.user_id.as_deref() != Some("user-7"))
    );

    let failed = bed
        .texts(
            "select concat_ws(' ', source_key, refused_by, error_code, reason) from tokenferry.tokens where state = 'failed'",
        )
        .await;
    assert_eq!(
        failed,
        ["42 api E152110 Request is invalid: the provider refused the refresh token"]
    );
    let text = bed.run(&["failures"]).await.ended_with(0).stdout;
    assert!(text.contains("has to connect again"), "{text}");

    bed.sql("update legacy_tokens set refresh_token = 'alive' where id = 42")
        .await;
    let next = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        next["requests"], 1,
        "the fingerprint does not know how a token went"
    );
    let batched = bed.set("").migrate().await.ended_with(0).json();
    assert_eq!(batched["requests"], 0);
}

#[tokio::test]
async fn what_the_api_answers_about_one_token_is_about_that_token() {
    let bed = verifying_bed("false").await;
    let answer = |status, body: &str| Fault::Answer {
        status,
        body: body.to_owned(),
        committed: false,
    };
    bed.api.script([
        answer(
            404,
            r#"{"errorCode":"E112102","errorDescription":"user not found"}"#,
        ),
        answer(409, r#"{"errorCode":"E011009","errorDescription":"conflict"}"#),
        answer(422, ""),
        Fault::Status(413),
    ]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        ran["failures_by_code"],
        json!({"E112102": 1, "E011009": 1, "http_422": 1, "http_413": 1})
    );
    assert_eq!(ran["requests"], 120);

    // A path that is not there blames nobody.
    bed.rows(121, 130).await;
    bed.api.script([answer(404, "not found")]);
    let bed = bed.set("batch.verify_refresh = true\nbatch.concurrency = 1");
    let ran = bed.migrate().await.ended_with(4).json();
    assert_eq!(ran["tokens"]["failed"], 0);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn lost_answers_are_settled_here_too() {
    let bed = verifying_bed("false").await;
    bed.api.script([
        Fault::CutAfterCommit,
        Fault::CutBeforeCommit,
        Fault::Unreadable,
        Fault::StatusAfterCommit(502),
        Fault::Status(503),
    ]);
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn refused_tokens_in_a_row_end_the_run_only_when_they_would_fill_that_many_batches() {
    let bed = verifying_bed("id between 20 and 70").await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["tokens"]["failed"], 51);

    let bed = verifying_bed("id > 20").await.set(
        "batch.verify_refresh = true\nbatch.concurrency = 1\nbatch.max_tokens = 5\nstop.after_failed_batches = 4",
    );
    let ran = bed.migrate().await.ended_with(4).json();
    assert_eq!(
        (&ran["status"], &ran["tokens"]["failed"]),
        (&json!("stopped"), &json!(20))
    );
    let reason = ran["stop_reason"].as_str().unwrap();
    assert!(reason.contains("20 tokens failed in a row"), "{reason}");
}

#[tokio::test]
async fn behind_a_canary_they_go_on_one_by_one_and_several_at_once() {
    let bed = verifying_bed("id = 3").await;
    let ran = bed
        .run(&["migrate", "--json", "--canary", "10"])
        .await
        .ended_with(4)
        .json();
    assert_eq!(ran["requests"], 10);
    bed.sql("update legacy_tokens set refresh_token = 'alive' where id = 3")
        .await;
    let ran = bed
        .run(&["migrate", "--json", "--canary", "10"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["requests"]),
        (&json!(120), &json!(121))
    );
    assert_eq!(bed.api.requests().to(BATCH), 0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn the_estimate_is_what_the_real_run_then_does() {
    let bed = verifying_bed("false").await;
    bed.sql(
        "update legacy_tokens set provider = null where id = 30;
         update legacy_tokens set access_token = null where id = 31;
         update legacy_tokens set refresh_token = null where id in (32, 40);
         update legacy_tokens set user_id = 'user-1' where id = 33;
         update legacy_tokens set access_token = repeat('x', 70000) where id = 34",
    )
    .await;
    let bed =
        bed.set("batch.verify_refresh = true\nbatch.max_bytes = \"60KiB\"\napi.rate_limit.requests = 60");
    let dry = bed
        .run(&["migrate", "--dry-run", "--log-format", "text"])
        .await
        .ended_with(3);
    assert!(
        dry.stderr
            .contains("117 requests (117 of them for one token each)"),
        "{}",
        dry.stderr
    );
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(3)
        .json();
    assert!(bed.api.requests().all().is_empty());
    let real = bed.migrate().await.ended_with(3).json();
    assert_eq!(dry["tokens"], real["tokens"]);
    let estimate = &dry["estimate"];
    assert_eq!(
        (&estimate["requests"], &estimate["single_requests"]),
        (&real["requests"], &real["requests"])
    );
    let requests = bed.api.requests();
    let bytes: usize = requests.all().iter().map(|request| request.bytes).sum();
    assert_eq!(estimate["bytes"], json!(bytes));
    let expected = estimate["duration_s"].as_f64().unwrap();
    let took = (requests.all().last().unwrap().at - requests.all()[0].at).as_secs_f64();
    assert!((took - expected).abs() < 1.0, "{took} and {expected}");
}
