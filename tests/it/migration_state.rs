//! What `runs` and `status` tell of a migration as a whole, and of the process that works on it.

use std::time::Duration;

use serde_json::{Value, json};
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::timeout;

use crate::support::bed::Bed;

async fn state(bed: &Bed) -> Value {
    bed.run(&["status", "--json"]).await.ended_with(0).json()["migration_state"].clone()
}

/// The counts, in the order in which `status` prints them.
fn counts(state: &Value) -> Value {
    [
        "source_rows",
        "committed",
        "failed",
        "superseded",
        "pending",
        "skipped",
    ]
    .map(|name| state[name].clone())
    .into()
}

#[tokio::test]
async fn status_without_a_run_describes_the_whole_migration() {
    let bed = Bed::new().await.set("source.page_size = 50");
    bed.user_rows(1, 100).await;
    bed.sql("analyze legacy_tokens").await;
    bed.run(&["migrate", "--limit", "30"]).await.ended_with(0);
    let before = state(&bed).await;
    assert_eq!(counts(&before), json!([100, 30, 0, 0, 70, 0]));
    assert_eq!(
        (&before["is_estimate"], &before["counted_by"], &before["active"]),
        (&json!(true), &Value::Null, &Value::Null)
    );

    bed.sql(
        "update legacy_tokens set access_token = null where id = 40;
         update legacy_tokens set user_id = 'user-51', updated_at = now() - interval '1 day' where id = 50",
    )
    .await;
    bed.migrate().await.ended_with(3);
    assert_eq!(counts(&state(&bed).await), json!([100, 98, 1, 1, 0, 0]));
    // Tokens count the same in their batches and in rows of their own.
    bed.move_to_rows().await;
    bed.migrate().await.ended_with(3);
    let after = state(&bed).await;
    assert_eq!(counts(&after), json!([100, 98, 1, 1, 0, 98]));
    assert_eq!(
        (&after["is_estimate"], &after["counted_by"]),
        (&json!(false), &json!(2))
    );
    assert!(after["counted_at"].is_string());

    // A dry run reads all rows, too; what it finds is pending.
    bed.user_rows(101, 120).await;
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    assert_eq!(counts(&state(&bed).await), json!([120, 98, 1, 1, 20, 98]));
    // Rows that are gone from the source still have their outcomes.
    bed.sql("delete from legacy_tokens where id <= 10").await;
    bed.migrate().await.ended_with(3);
    assert_eq!(counts(&state(&bed).await), json!([110, 118, 1, 1, 0, 88]));
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    for expected in [
        "Migration \"test\"",
        "source rows         110   at the last complete count: run 4, 20",
        "committed           118   stored by Descope",
        "pending               0",
        "skipped              88",
        "Of 10 outcomes the rows were not in the source",
        "Run 4 of \"test\"",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // A run is described as before.
    let run = bed
        .run(&["status", "--run", "2", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!((&run["run_id"], run.get("migration_state")), (&json!(2), None));
    assert_eq!(run["migration"], "test");
}

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set access_token = null where id = 4")
        .await;
    let none = bed.run(&["runs"]).await.ended_with(2);
    assert!(none.stderr.contains("there is no ledger"), "{}", none.stderr);
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    bed.migrate().await.ended_with(3);
    bed.run(&["failures", "--acknowledge", "--reason", "known"])
        .await
        .ended_with(0);
    bed.run(&["migrate", "--only-failed"]).await.ended_with(0);
    let listed = bed.run(&["runs", "--json"]).await.ended_with(0).json();
    let runs = listed["runs"].as_array().unwrap();
    let brief: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!([
                run["run_id"],
                run["mode"],
                run["selection"],
                run["status"],
                run["acknowledged"]
            ])
        })
        .collect();
    assert_eq!(
        brief,
        [
            json!([3, "migrate", "failed", "completed_with_failures", 1]),
            json!([2, "migrate", "all", "completed_with_failures", 0]),
            json!([1, "dry_run", "all", "completed_with_failures", 0]),
        ]
    );
    assert_eq!(
        (&listed["migration"], &listed["more"]),
        (&json!("test"), &json!(0))
    );
    assert_eq!(
        runs[1]["tokens"],
        json!({"selected": 20, "committed": 19, "failed": 1, "superseded": 0, "unchanged": 0})
    );
    assert!(runs[1]["holder"].as_str().unwrap().starts_with("process "));
    assert!(runs[1]["started_at"].is_string() && runs[1]["finished_at"].is_string());

    let latest = bed.run(&["runs", "--limit", "1"]).await.ended_with(0).stdout;
    for expected in [
        "migrate, only failed",
        "completed, some failed",
        "1 failed (1 acknowledged)",
        "2 earlier",
    ] {
        assert!(latest.contains(expected), "{expected}: {latest}");
    }
    assert!(!latest.contains("dry run"), "{latest}");
    assert!(bed.run(&["runs"]).await.ended_with(0).stdout.contains("dry run"));
}

/// The lock tells: nobody has to wait until a run has been silent for some time.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_process_that_was_killed_is_said_to_be_gone_at_once() {
    let bed = Bed::new()
        .await
        .set("batch.max_tokens = 10\nbatch.concurrency = 1");
    bed.user_rows(1, 100).await;
    let _ = bed.killed_at(&["migrate"], "answered", 3).await;
    assert_eq!(bed.texts("select status from tokenferry.runs").await, ["running"]);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        (
            &status["status"],
            &status["stop_reason"],
            &status["batches_in_flight"]
        ),
        (&json!("interrupted"), &json!("its process is gone"), &json!(1))
    );
    assert_eq!(
        (
            &status["migration_state"]["active"],
            &status["migration_state"]["batches_in_flight"]
        ),
        (&Value::Null, &json!(1))
    );
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    for expected in [
        "interrupted; the next `tokenferry migrate` resumes here",
        "ended early: its process is gone",
        "1 batch is in flight: the next run settles it before it sends anything",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let listed = bed.run(&["runs"]).await.ended_with(0).stdout;
    assert!(listed.contains("interrupted: its process is gone"), "{listed}");
    bed.assert_gone_on_with(100).await;
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        (&status["status"], status.get("batches_in_flight")),
        (&json!("completed"), None)
    );
}

/// A run that was taken up started long ago; its process did not.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn exit_5_and_status_name_the_process_and_since_when_it_works() {
    let bed = Bed::new()
        .await
        .set("batch.max_tokens = 10\nbatch.concurrency = 1\napi.timeout = \"60s\"");
    bed.user_rows(1, 100).await;
    let _ = bed.killed_at(&["migrate"], "answered", 2).await;
    bed.sql(
        "update tokenferry.runs set started_at = '2026-01-02 03:04:05Z', held_since = '2026-01-02 03:04:05Z',
                progressed_at = '2026-01-02 03:04:06Z'",
    )
    .await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();

    let process = format!("process {} on ", child.id().unwrap());
    let locked = bed
        .run(&["migrate", "--log-format", "text"])
        .await
        .ended_with(5)
        .stderr;
    for expected in [
        "run 1 (migrate)",
        &process,
        ", since 20",
        "The lock is held by the database session",
    ] {
        assert!(locked.contains(expected), "{expected}: {locked}");
    }
    assert!(!locked.contains("since 2026-01-02"), "{locked}");
    let active = state(&bed).await["active"].clone();
    assert_eq!(
        (&active["run_id"], &active["mode"]),
        (&json!(1), &json!("migrate"))
    );
    assert!(
        active["holder"].as_str().unwrap().starts_with(&process),
        "{active}"
    );
    assert!(
        !active["since"].as_str().unwrap().starts_with("2026-01-02"),
        "{active}"
    );
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(
        text.contains("works on it since 20") && text.contains(&process),
        "{text}"
    );
    gate.release();
    child.wait_with_output().await.unwrap();
}
