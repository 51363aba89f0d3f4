//! The log in words: time of day, one line per event, wrapped between words, and nothing for machines.

use std::{process::Stdio, time::Duration};

use console::measure_text_width;
use tokenferry::simulator::{Barrier, Fault};
use tokio::{process::Command, time::timeout};

use super::{Terminal, ended, lines_with, started};
use crate::support::bed::{Bed, TOKEN};

/// The lines that the program wrote, without colours and cursor movements.
fn written(terminal: &Terminal) -> Vec<String> {
    let raw = terminal.raw();
    let text = console::strip_ansi_codes(&raw).into_owned();
    let lines = text.split('\n').map(|line| line.trim_matches('\r').to_owned());
    lines.collect()
}

/// A terminal for both streams.
fn both(command: &mut Command, columns: u16) -> Terminal {
    let terminal = Terminal::new(command, columns);
    command.stdout(Stdio::from(terminal.slave()));
    terminal
}

async fn run(mut command: Command) -> i32 {
    ended(command.spawn().unwrap()).await
}

#[tokio::test]
async fn a_lost_response_is_one_line_and_no_warning() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.sql("analyze legacy_tokens").await;
    let bed = bed.set("batch.concurrency = 1");
    bed.api.script([Fault::CutAfterCommit, Fault::Status(502)]);
    let mut command = bed.command(&["migrate"]);
    let terminal = Terminal::new(&mut command, 80);
    assert_eq!(ended(started(command)).await, 0);
    let lines = written(&terminal);
    let about = |batch: &str| -> Vec<&String> { lines.iter().filter(|line| line.contains(batch)).collect() };
    let first = about("  batch 1: ");
    assert_eq!(first.len(), 1, "{lines:#?}");
    assert!(
        first[0].ends_with("batch 1: response lost · read back: stored"),
        "{first:?}"
    );
    let time: Vec<char> = first[0].chars().take(8).collect();
    assert!(
        time[2] == ':' && time[5] == ':' && time[7].is_ascii_digit(),
        "{first:?}"
    );
    let second = about("  batch 2: ");
    assert!(
        second.len() == 1 && second[0].contains("HTTP 502 · read back: not stored · retrying in 0."),
        "{second:?}"
    );
    let all = lines.join("\n");
    for machine in ["WARN", "INFO", "warning", "attempt=", "code=", "Z ", "run{"] {
        assert!(!all.contains(machine), "{machine}: {all}");
    }
    assert!(!all.contains(TOKEN), "{all}");

    // With -v the log is what it was.
    bed.user_rows(301, 400).await;
    bed.api.script([Fault::CutAfterCommit]);
    let mut command = bed.command(&["migrate", "-v"]);
    let terminal = Terminal::new(&mut command, 200);
    assert_eq!(ended(started(command)).await, 0);
    let all = written(&terminal).join("\n");
    assert!(
        all.contains("outcome unknown, reading back") && all.contains("code=connection_lost"),
        "{all}"
    );
}

#[tokio::test]
async fn no_line_is_wider_than_the_terminal_and_each_reason_is_there_once() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.sql(
        "update legacy_tokens set access_token = null where id <= 3;
         update legacy_tokens set expires_at = '2040-01-01' where id = 4; analyze legacy_tokens",
    )
    .await;
    let mut command = bed.command(&["migrate", "--dry-run"]);
    let terminal = Terminal::new(&mut command, 64);
    assert_eq!(ended(started(command)).await, 3);
    let lines = written(&terminal);
    for line in &lines {
        assert!(measure_text_width(line) <= 64, "{line}");
    }
    let all = lines.join(" ");
    let words = all.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words.matches("neither an access token").count(), 1, "{words}");
    assert!(words.contains("exclude the rows with `source.where`"), "{words}");

    for arguments in [&["failures"][..], &["doctor"]] {
        let mut command = bed.command(arguments);
        let terminal = both(&mut command, 80);
        assert_eq!(run(command).await, 0);
        let lines = written(&terminal);
        for line in &lines {
            assert!(measure_text_width(line) <= 80, "{line}");
        }
        let words = lines.join(" ");
        assert!(words.matches("neither an access").count() <= 1, "{lines:#?}");
    }
}

#[tokio::test]
async fn a_canary_counts_its_own_tokens_and_promises_no_time() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1000).await;
    bed.sql("update legacy_tokens set refresh_token = 'refresh ' || id; analyze legacy_tokens")
        .await;
    let bed = bed.set("api.timeout = \"60s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let mut command = bed.command(&["migrate", "--canary", "5"]);
    let terminal = Terminal::new(&mut command, 80);
    let child = started(command);
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let shown = terminal
        .shows(|screen| screen.contains("canary  1 of 5 tokens"))
        .await;
    assert!(!shown.contains(" left") && !shown.contains("1,000"), "{shown}");
    assert_eq!(lines_with(&shown, "canary  1 of 5"), 1, "{shown}");
    gate.release();
    assert_eq!(ended(child).await, 0);
}

#[tokio::test]
async fn the_demo_fits_the_usual_terminal_and_shows_no_log_unless_asked() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    command.args(["demo", "--tokens", "500"]).stdin(Stdio::null());
    if std::env::var_os("TEST_DATABASE_URL").is_some() {
        command.env(
            "TOKENFERRY_DEMO_DATABASE_URL",
            std::env::var("TEST_DATABASE_URL").unwrap(),
        );
    }
    let terminal = both(&mut command, 80);
    assert_eq!(run(command).await, 0);
    let lines = written(&terminal);
    for line in &lines {
        assert!(measure_text_width(line) <= 80, "{line}");
    }
    let all = lines.join("\n");
    assert!(all.contains("equal: "), "{all}");
    for log in [" INFO ", " WARN ", "started", "first failure", "read back:"] {
        assert!(!all.contains(log), "{log}: {all}");
    }
}
