//! Runs over a part of the rows: the failed ones, or a canary's worth.

use serde_json::json;

use crate::support::bed::Bed;

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
