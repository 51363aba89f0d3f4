//! Texts of others: what a key or an app's name holds moves no cursor, forges no line of a log, and is no formula; and whoever else
//! is on the machine reads nothing.

use std::{fs, os::unix::fs::PermissionsExt};

use tokenferry::simulator::{Barrier, Fault};

use crate::support::bed::Bed;

/// Clears a screen, ends a line, turns the text around, and begins like a formula.
const FOREIGN: &str = "=1+1 \u{1b}[2J\u{1b}]0;x\u{7}\nINFO forged\u{202e}\u{2028}\u{61c}\u{9b}31m";

#[tokio::test]
async fn a_key_that_holds_controls_is_shown_and_moves_nothing() {
    let bed = Bed::new().await.set("apps.google = \"google\"");
    bed.sql("alter table legacy_tokens alter id type text").await;
    bed.sql(&format!(
        "insert into legacy_tokens (id, provider, user_id, access_token) values
         (e'{0}', e'{0}', 'u1', 'of-the-first'), ('-5', 'google', 'u2', 'of-the-second')",
        FOREIGN.replace('\n', "\\n")
    ))
    .await;
    let run = |arguments: &'static [&'static str]| bed.run(arguments);
    let mut told = Vec::new();
    for arguments in [
        &["migrate", "--dry-run", "--log-format", "text", "-vv"][..],
        &["migrate", "--log-format", "text", "-vv"],
        &["migrate", "--json", "--log-format", "json", "-vv"],
        &["status"],
        &["status", "--json"],
        &["failures"],
        &["failures", "--format", "csv"],
        &["failures", "--format", "json"],
        &["report", "--output", "-"],
        &["doctor"],
        &["doctor", "--json"],
        &["show", "u2"],
        &["show", FOREIGN],
        &["show", FOREIGN, "--json"],
    ] {
        let ran = run(arguments).await;
        for text in [&ran.stdout, &ran.stderr] {
            let unseen = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}\u{61c}".contains(c);
            assert!(!text.contains(unseen), "{arguments:?}: {text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("INFO forged")),
                "{arguments:?}: {text}"
            );
        }
        told.push(ran);
    }
    let csv = &told[6].stdout;
    assert!(
        csv.lines().nth(1).unwrap().starts_with("'=1+1 \\u{1b}[2J"),
        "{csv}"
    );
    // Whoever reads JSON gets what is there.
    assert_eq!(told[7].json()[0]["source_key"], FOREIGN);
}

#[tokio::test]
async fn a_new_listing_is_its_owners_alone() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    bed.migrate().await.ended_with(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.csv");
    for format in ["csv", "json", "table"] {
        let output = path.to_str().unwrap();
        bed.run(&["failures", "--format", format, "--output", output])
            .await
            .ended_with(0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_memory_of_a_run_is_dumped_nowhere_and_read_by_nobody_but_root() {
    use std::os::unix::fs::MetadataExt;

    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = bed.spawn_migrate();
    gate.reached().await;
    let proc = format!("/proc/{}", run.id().unwrap());
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let limit: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(limit, ["0", "0"], "{core}");
    // What is not dumpable belongs to root, whoever runs it.
    assert_eq!(fs::metadata(format!("{proc}/mem")).unwrap().uid(), 0);
    gate.release();
    crate::support::bed::ended(run.wait_with_output())
        .await
        .ended_with(0);
}
