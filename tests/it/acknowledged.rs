//! Failures that are acknowledged: they end no run with 3, and hide nothing else.

use serde_json::{Value, json};
use tokenferry::simulator::Fault;

use crate::support::bed::{Bed, Ran};

/// Rows 1 to 20, of which 3 and 4 have no token and 7 is refused by the API.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set access_token = null where id in (3, 4)")
        .await;
    bed.api.set_refused_users(["user-7"]);
    bed
}

async fn acknowledge(bed: &Bed, which: &[&str]) -> Ran {
    let arguments = [&["failures", "--acknowledge", "--reason", "left in March"], which].concat();
    bed.run(&arguments).await
}

async fn failures(bed: &Bed, arguments: &[&str]) -> Value {
    let arguments = [&["failures", "--format", "json"], arguments].concat();
    bed.run(&arguments).await.ended_with(0).json()
}

#[tokio::test]
async fn a_run_with_nothing_else_ends_with_0_and_names_them() {
    let bed = bed().await;
    bed.migrate().await.ended_with(3);
    let told = acknowledge(&bed, &["--code", "no_token"]).await.ended_with(0);
    assert!(
        told.stderr.contains("2 failed tokens acknowledged"),
        "{}",
        told.stderr
    );
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 2}));
    assert_eq!(ran["failures_by_code"].as_object().unwrap().len(), 2);

    acknowledge(&bed, &["--key", "7"]).await.ended_with(0);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (
            &ran["status"],
            &ran["tokens"]["failed"],
            &ran["tokens"]["unchanged"]
        ),
        (&json!("completed_with_failures"), &json!(3), &json!(17))
    );
    let known: i64 = ran["acknowledged_by_code"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_i64().unwrap())
        .sum();
    assert_eq!(known, 3);
    let text = bed
        .run(&["migrate", "--log-format", "text"])
        .await
        .ended_with(0)
        .stderr;
    for expected in [
        "no token failed except those that are acknowledged",
        "2 × acknowledged no_token: left in March",
        "not stored, and acknowledged",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let only_failed = bed
        .run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(0);
    assert_eq!(only_failed.json()["tokens"]["failed"], 3);
    let page = bed.run(&["report", "--output", "-"]).await.ended_with(0).stdout;
    assert!(page.contains("3 failed (3 of them acknowledged)") && page.contains("left in March"));

    // What fails anew ends the run with 3, whatever else is known.
    bed.user_rows(21, 22).await;
    bed.sql("update legacy_tokens set access_token = null where id = 21")
        .await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (
            &ran["failures_by_code"]["no_token"],
            &ran["acknowledged_by_code"]["no_token"]
        ),
        (&json!(3), &json!(2))
    );
    // With a limit, too.
    bed.sql("update legacy_tokens set access_token = 'token' where id = 21")
        .await;
    bed.run(&["migrate", "--limit", "1"]).await.ended_with(0);
}

#[tokio::test]
async fn a_change_of_the_row_ends_it_for_good() {
    for change in [
        "update legacy_tokens set updated_at = updated_at + interval '1 second' where id in (3, 7)",
        // Without a new version.
        "update legacy_tokens set scope = 'other' where id in (3, 7)",
        // Another code.
        "update legacy_tokens set user_id = null where id in (3, 7)",
    ] {
        let bed = bed().await;
        bed.migrate().await.ended_with(3);
        acknowledge(&bed, &[]).await.ended_with(0);
        bed.migrate().await.ended_with(0);
        let before = bed
            .texts("select row(t.*)::text from legacy_tokens t where id = 4")
            .await;
        bed.sql("create table before as table legacy_tokens").await;
        bed.sql(change).await;
        let ran = bed.migrate().await.ended_with(3).json();
        assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 1}), "{change}");
        let keys: Vec<Value> = failures(&bed, &[])
            .await
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["acknowledged_at"].is_null())
            .map(|row| row["source_key"].clone())
            .collect();
        assert_eq!(keys.len(), 2, "{change}: {keys:?}");
        // As it was when it was acknowledged; but it has changed since.
        bed.sql("truncate legacy_tokens; insert into legacy_tokens table before")
            .await;
        let ran = bed.migrate().await.ended_with(3).json();
        assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 1}), "{change}");
        assert_eq!(
            bed.texts("select row(t.*)::text from legacy_tokens t where id = 4")
                .await,
            before
        );
    }
}

#[tokio::test]
async fn a_token_that_is_repaired_is_no_failure_any_more() {
    let bed = bed().await;
    bed.migrate().await.ended_with(3);
    acknowledge(&bed, &[]).await.ended_with(0);
    bed.sql("update legacy_tokens set access_token = 'token-' || id where id in (3, 4)")
        .await;
    bed.api.set_refused_users([""; 0]);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["failed"], &ran["status"]),
        (&json!(0), &json!("completed"))
    );
    assert_eq!(ran.get("acknowledged_by_code"), None);
    assert_eq!(
        bed.number("select count(*) from tokenferry.acknowledgements")
            .await,
        0
    );
}

#[tokio::test]
async fn they_are_listed_last_and_can_be_taken_back() {
    let bed = bed().await;
    bed.migrate().await.ended_with(3);
    acknowledge(&bed, &["--code", "no_token"]).await.ended_with(0);
    let rows = failures(&bed, &[]).await;
    let told: Vec<(&str, Option<&str>)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["source_key"].as_str().unwrap(),
                row["acknowledgement"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("7", None),
            ("3", Some("left in March")),
            ("4", Some("left in March"))
        ]
    );
    let table = bed.run(&["failures"]).await.ended_with(0);
    let known = table.stdout.find("2 × acknowledged no_token: 2 google").unwrap();
    assert!(table.stdout.find("1 × ").unwrap() < known, "{}", table.stdout);
    assert!(table.stdout.contains("left in March"), "{}", table.stdout);
    assert!(
        table
            .stderr
            .contains("3 failed tokens in migration \"test\", 2 of them acknowledged"),
        "{}",
        table.stderr
    );
    // The query of each group selects its rows.
    for (severity, keys) in [("not in", vec!["7"]), ("in", vec!["3", "4"])] {
        let query = format!(
            "select source_key from tokenferry.tokens where state = 'failed' and source_key {severity} \
             (select source_key from tokenferry.acknowledged) order by 1"
        );
        assert_eq!(bed.texts(&query).await, keys);
    }
    let status = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(status.contains("not stored, 2 of them acknowledged"), "{status}");

    let taken_back = bed
        .run(&["failures", "--unacknowledge", "--key", "3"])
        .await
        .ended_with(0);
    assert!(taken_back.stderr.contains("1 acknowledgement taken back"));
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 1}));
    bed.run(&["failures", "--unacknowledge"]).await.ended_with(0);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran.get("acknowledged_by_code"), None);
    for (arguments, said) in [
        (&["failures", "--unacknowledge"][..], "no failure is acknowledged"),
        (
            &["failures", "--acknowledge", "--code", "E1", "--reason", "x"],
            "no token with the code E1 has failed",
        ),
        (
            &["failures", "--acknowledge", "--key", "1", "--reason", "x"],
            "no token with the key 1 has failed",
        ),
        (&["failures", "--acknowledge"], "--reason"),
        (
            &["failures", "--acknowledge", "--reason", " "],
            "must not be empty",
        ),
        (&["failures", "--code", "no_token"], "--acknowledge"),
        (
            &["failures", "--acknowledge", "--reason", "x", "--run", "1"],
            "cannot be used with",
        ),
    ] {
        let ran = bed.run(arguments).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn tokens_that_may_be_stored_are_only_acknowledged_by_name() {
    let bed = Bed::new()
        .await
        .set("batch.max_tokens = 1\nbatch.concurrency = 1\napi.retry.max_attempts = 3");
    bed.user_rows(1, 2).await;
    bed.sql("update legacy_tokens set access_token = null where id = 2")
        .await;
    bed.api.script([Fault::CutAfterCommit]);
    // When it is sent, and once more at the end of the run.
    bed.api.script_reads(std::iter::repeat_n(Fault::Status(503), 6));
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        ran["failures_by_code"],
        json!({"no_token": 1, "outcome_unknown": 1})
    );
    let told = acknowledge(&bed, &[]).await.ended_with(0).stderr;
    assert!(told.contains("1 failed token acknowledged"), "{told}");
    assert!(
        told.contains("1 not acknowledged: their outcome is unknown"),
        "{told}"
    );
    let told = acknowledge(&bed, &["--code", "outcome_unknown"])
        .await
        .ended_with(0)
        .stderr;
    assert!(told.contains("1 of them may be stored at Descope"), "{told}");
    // It turns out to be stored.
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 1}));
    bed.sql("delete from legacy_tokens where id = 2").await;
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_failure_whose_row_nobody_could_recognise_is_not_acknowledged() {
    let bed = bed().await;
    bed.migrate().await.ended_with(3);
    // As an earlier version recorded it, of a source without `updated_at`.
    bed.sql(
        "update tokenferry.token_rows set source_version = null, row_digest = null where source_key = '3'",
    )
    .await;
    let told = acknowledge(&bed, &["--code", "no_token"])
        .await
        .ended_with(0)
        .stderr;
    assert!(
        told.contains("1 failed token acknowledged")
            && told.contains("nothing would tell that their rows have changed"),
        "{told}"
    );
    // Of a source with one, its version is enough.
    bed.sql("update tokenferry.token_rows set row_digest = null where source_key = '4'")
        .await;
    acknowledge(&bed, &["--key", "4"]).await.ended_with(0);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["acknowledged_by_code"], json!({"no_token": 1}));
}
