//! What the API turns down, and what becomes of the rest.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Fault, RateLimit, Simulator, TooLarge};

use crate::support::bed::Bed;

#[tokio::test]
async fn named_tokens_are_taken_out_under_200_and_under_400_alike() {
    for status in [200, 400] {
        let bed = Bed::with(Simulator::builder().rule(|rules| rules.failures_status = status)).await;
        bed.user_rows(1, 100).await;
        bed.api.set_refused_users(["user-7", "user-50"]);
        let ran = bed.migrate().await.ended_with(3).json();
        assert_eq!(
            (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
            (&json!(98), &json!(2)),
            "{status}"
        );
        assert_eq!(ran["requests"], 2, "{status}");
        assert_eq!(ran["batches"], json!({"committed": 1, "failed": 1}));
    }
}

#[tokio::test]
async fn an_incomplete_list_is_asked_for_until_nothing_is_refused() {
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.failures_at_once = Some(1))).await;
    bed.user_rows(1, 50).await;
    bed.api.set_refused_users(["user-1", "user-2", "user-3"]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["requests"]),
        (&json!(47), &json!(4))
    );
}

#[tokio::test]
async fn names_in_another_letter_case_and_names_of_strangers_do_not_confuse() {
    let bed = Bed::new().await;
    bed.user_rows(1, 8).await;
    let named = |user: &str| {
        let body =
            json!({"failures": [{"appId": "GOOGLE", "userId": user, "errorCode": "E1", "reason": "no"}]});
        Fault::Answer {
            status: 200,
            body: body.to_string(),
            committed: false,
        }
    };
    // The first names user-3 in capitals, the second somebody who is not in the batch: it goes up in halves.
    bed.api.script([named("USER-3"), named("stranger")]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(
        bed.texts("select source_key from tokenferry.tokens where state = 'failed'")
            .await,
        ["3"]
    );
    assert_eq!(bed.api.requests().batch_sizes(), [8, 7, 3, 4]);
}

#[tokio::test]
async fn a_size_that_the_api_refuses_is_learnt_once() {
    for (kind, requests) in [(TooLarge::PayloadTooLarge, 60), (TooLarge::InvalidArguments, 80)] {
        let bed = Bed::with(
            Simulator::builder().rule(|rules| (rules.max_tokens, rules.too_large) = (Some(25), kind)),
        )
        .await;
        bed.user_rows(1, 1000).await;
        let bed = bed.set("batch.concurrency = 1");
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 1000);
        bed.assert_arrived_once().await;
        assert!(
            ran["requests"].as_i64().unwrap() <= requests,
            "{kind:?}: {}",
            ran["requests"]
        );
    }
}

/// 5,000 tokens against an API that takes ten at once, and says of more only that the arguments are invalid.
#[tokio::test]
async fn a_size_is_learnt_from_a_refusal_that_does_not_speak_of_it() {
    for kind in [TooLarge::PayloadTooLarge, TooLarge::InvalidArguments] {
        let bed = Bed::with(
            Simulator::builder().rule(|rules| (rules.max_tokens, rules.too_large) = (Some(10), kind)),
        )
        .await;
        bed.user_rows(1, 5000).await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 5000);
        bed.assert_arrived_once().await;
        let requests = ran["requests"].as_i64().unwrap();
        assert!((500..=600).contains(&requests), "{kind:?}: {requests}");
    }
}

#[tokio::test]
async fn bytes_and_tokens_are_learnt_apart() {
    // Up to about forty of the large ones, and of the small ones as many as a batch may have.
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.max_bytes = Some(50_000))).await;
    bed.user_rows(1, 3000).await;
    bed.sql("update legacy_tokens set access_token = access_token || repeat('x', 1000) where id <= 400")
        .await;
    let bed = bed.set("batch.concurrency = 1");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 3000);
    bed.assert_arrived_once().await;
    let requests = ran["requests"].as_i64().unwrap();
    assert!((36..=60).contains(&requests), "{requests}");
    assert_eq!(bed.api.requests().batch_sizes().into_iter().max(), Some(100));
}

#[tokio::test]
async fn one_token_that_is_too_large_for_the_api_makes_no_others_small() {
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.max_bytes = Some(60_000))).await;
    bed.user_rows(1, 3000).await;
    bed.sql("update legacy_tokens set id_token = repeat('x', 80000) where id = 150")
        .await;
    let bed = bed.set("batch.concurrency = 1");
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(2999), &json!(1))
    );
    let requests = ran["requests"].as_i64().unwrap();
    assert!((30..=60).contains(&requests), "{requests}");
}

#[tokio::test]
async fn a_token_larger_than_a_request_is_never_sent() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set id_token = repeat('x', 5000) where id = 9")
        .await;
    let bed = bed.set("batch.max_bytes = \"4KiB\"");
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["failures_by_code"], json!({"too_large": 1}));
    assert!(
        bed.api
            .requests()
            .all()
            .iter()
            .all(|request| request.bytes <= 4096)
    );
}

#[tokio::test]
async fn reject_records_the_whole_batch_and_goes_on() {
    let bed = Bed::new().await;
    bed.user_rows(1, 200).await;
    bed.api.set_refused_users(["user-7"]);
    let bed = bed.set("batch.on_failure = \"reject\"");
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        ran["failures_by_code"],
        json!({"E112102": 1, "batch_rejected": 99})
    );
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["requests"]),
        (&json!(100), &json!(2))
    );
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_by_all_tasks_and_nothing_is_lost() {
    let limit = RateLimit::new(10, Duration::from_secs(1));
    let bed = Bed::with(Simulator::builder().rate_limit(limit)).await;
    bed.user_rows(1, 150).await;
    let bed = bed.set("batch.max_tokens = 10\nbatch.concurrency = 8");
    // At least one, also on a machine that is too slow to use the quota up.
    bed.api.script([Fault::RateLimited(Duration::from_secs(1))]);
    let ran = bed.migrate().await.ended_with(0).json();
    assert!(ran["rate_limited"].as_i64().unwrap() > 0);
    bed.assert_arrived_once().await;
    // A gate that only held the task that was refused would have been turned away far more often.
    assert!(
        ran["rate_limited"].as_i64().unwrap() < 20,
        "{}",
        ran["rate_limited"]
    );
}

#[tokio::test]
async fn a_culprit_that_nobody_names_is_found_by_halving() {
    let bed = Bed::with(
        Simulator::builder().rule(|rules| (rules.failures_status, rules.failures_at_once) = (400, Some(0))),
    )
    .await;
    bed.user_rows(1, 100).await;
    bed.api.set_refused_users(["user-37"]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        bed.texts("select source_key from tokenferry.tokens where state = 'failed'")
            .await,
        ["37"]
    );
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(99), &json!(1))
    );
    // Twice log2 of the batch, and the batch itself.
    assert!(ran["requests"].as_i64().unwrap() <= 15, "{}", ran["requests"]);
    assert!(bed.api.writes().values().all(|&count| count == 1));
}
