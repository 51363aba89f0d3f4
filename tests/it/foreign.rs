//! Texts of others: what a key or an app's name holds moves no cursor, forges no line of a log, and is no
//! formula; and whoever else is on the machine reads nothing.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Stdio,
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

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

/// The command, run by another user if this one is root, who may read everything.
#[cfg(target_os = "linux")]
fn as_an_ordinary_user(mut command: Command) -> Command {
    const NOBODY: u32 = 65534;
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Whether another process of the user that [`as_an_ordinary_user`] gives may open a file of this one under
/// `/proc`.
#[cfg(target_os = "linux")]
async fn opens(process: &Child, file: &str) -> bool {
    let mut head = Command::new("head");
    head.args(["--bytes=0", &format!("/proc/{}/{file}", process.id().unwrap())])
        .stderr(Stdio::null());
    as_an_ordinary_user(head).status().await.unwrap().success()
}

/// The stand-in API is sealed as every command is, and reaches no database that would have to let this user
/// in.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_memory_of_a_command_is_dumped_nowhere_and_read_by_nobody_but_root() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    command
        .args(["simulate", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut sealed = as_an_ordinary_user(command).spawn().unwrap();
    // It has said that it listens.
    let mut said = BufReader::new(sealed.stdout.take().unwrap()).lines();
    assert!(said.next_line().await.unwrap().is_some());
    let proc = format!("/proc/{}", sealed.id().unwrap());
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let limit: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(limit, ["0", "0"], "{core}");
    // Of another process of theirs they may read these.
    let mut sleep = Command::new("sleep");
    sleep.arg("60").kill_on_drop(true);
    let ordinary = as_an_ordinary_user(sleep).spawn().unwrap();
    for file in ["environ", "maps"] {
        assert!(opens(&ordinary, file).await, "{file}");
    }
    for file in ["environ", "maps", "mem"] {
        assert!(!opens(&sealed, file).await, "{file}");
        // What is not dumpable belongs to root, whoever runs it.
        assert_eq!(fs::metadata(format!("{proc}/{file}")).unwrap().uid(), 0, "{file}");
    }
}
