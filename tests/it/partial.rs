//! A run that has not come to the end of its rows says what it has not looked at, and calls nothing complete.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::timeout;

use crate::support::bed::Bed;

/// 300 rows, of which the planner knows.
async fn bed() -> Bed {
    let bed = Bed::new()
        .await
        .set("source.page_size = 10\nbatch.max_tokens = 10");
    bed.user_rows(1, 300).await;
    bed.sql("analyze legacy_tokens").await;
    bed
}

#[track_caller]
fn assert_partial(text: &str) {
    assert!(text.contains("About 2"), "{text}");
    assert!(text.contains(" of about 300 rows have not been read."), "{text}");
    for complete in [
        "every token has arrived",
        "no problem found\n",
        "No problem was found.",
        "No problem was found. ",
        "of all tokens",
    ] {
        assert!(!text.contains(complete), "{complete}: {text}");
    }
}

async fn told(bed: &Bed, run: &str) -> String {
    let status = bed.run(&["status", "--run", run]).await.ended_with(0).stdout;
    let page = bed
        .run(&["report", "--run", run, "--output", "-"])
        .await
        .ended_with(0)
        .stdout;
    let (_, page) = page.split_once("<body>").unwrap();
    status + page
}

#[tokio::test]
async fn an_upload_that_ended_early_says_how_much_it_has_not_read() {
    let bed = bed().await;
    let ran = bed
        .run(&["migrate", "--limit", "55", "--log-format", "text"])
        .await
        .ended_with(0);
    assert_partial(&ran.stderr);
    assert_partial(&told(&bed, "1").await);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["rows_expected"], 300);
    bed.migrate().await.ended_with(0);
    let whole = told(&bed, "1").await;
    assert!(!whole.contains("have not been read"), "{whole}");
    assert!(whole.contains("of all tokens are at Descope"), "{whole}");
}

#[tokio::test]
async fn a_dry_run_that_ended_early_says_how_much_it_has_not_read() {
    let bed = bed().await;
    let ran = bed
        .run(&["migrate", "--dry-run", "--limit", "55", "--log-format", "text"])
        .await
        .ended_with(0);
    assert_partial(&ran.stderr);
    assert_partial(&told(&bed, "1").await);
    // As a signal ends one.
    bed.sql("update tokenferry.runs set status = 'interrupted', stop_reason = 'ended by signal 15'")
        .await;
    let text = told(&bed, "1").await;
    assert_partial(&text);
    assert!(
        text.contains("No problem was found in the rows that were read"),
        "{text}"
    );
    // Nobody knows how many there are.
    bed.sql("update tokenferry.runs set expected_rows = null").await;
    let text = told(&bed, "1").await;
    assert!(text.contains("their number is unknown"), "{text}");
    assert!(!text.contains("No problem was found."), "{text}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_run_whose_process_was_killed_is_not_said_to_be_running() {
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"], &["verify"]] {
        let bed = bed().await;
        let place = match arguments {
            ["verify"] => {
                bed.migrate().await.ended_with(0);
                "verified"
            }
            _ => "cursor",
        };
        let _ = bed.killed_at(arguments, place, 2).await;
        let run = bed
            .number("select max(id) from tokenferry.runs")
            .await
            .to_string();
        let status = bed
            .run(&["status", "--run", &run, "--json"])
            .await
            .ended_with(0)
            .json();
        // A dry run takes no lock, so it may be alive; of the others, the lock tells.
        let is_dry = arguments.contains(&"--dry-run");
        assert_eq!(
            status["status"],
            if is_dry { "running" } else { "interrupted" },
            "{arguments:?}"
        );
        bed.sql(
            "update tokenferry.runs set progressed_at = now() - interval '1 minute' where status = 'running'",
        )
        .await;
        let status = bed
            .run(&["status", "--run", &run, "--json"])
            .await
            .ended_with(0)
            .json();
        assert_eq!(
            (&status["status"], &status["stop_reason"]),
            (&json!("interrupted"), &json!("its process is gone")),
            "{arguments:?}"
        );
        let text = told(&bed, &run).await;
        assert!(text.contains("interrupted"), "{text}");
        assert!(!text.contains("It is running"), "{text}");
    }
}

/// However long it has made no progress: its lock says that it is there.
#[tokio::test]
async fn a_run_that_waits_is_said_to_be_running() {
    let bed = Bed::new().await.set("api.timeout = \"60s\"");
    bed.user_rows(1, 20).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    bed.sql("update tokenferry.runs set progressed_at = now() - interval '1 minute'")
        .await;
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["status"], "running");
    gate.release();
    child.wait_with_output().await.unwrap();
}
