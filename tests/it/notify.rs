//! Who is told of a run: real programs, and what they get to see.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{sys::signal::kill, unistd::Pid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::bed::{Bed, TOKEN};

/// A folder with a hook in it, and what the hook leaves there.
struct Hook {
    folder: TempDir,
}

impl Hook {
    /// `script` is what the shell does, in the folder.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        fs::write(
            &path,
            format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.path().display()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hook")
    }

    /// The lines of a configuration that runs it.
    fn lines(&self) -> String {
        format!(
            "notify.command = [\"{}\", \"an argument with $HOME\"]\n",
            self.path().display()
        )
    }

    /// What was written into a file of the folder; nothing if it is not there.
    fn wrote(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn told(&self, event: &str) -> Vec<Value> {
        self.wrote(event)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Writes down everything it gets.
const LISTENS: &str =
    "cat >> \"$TOKENFERRY_EVENT\"; env > \"env.$TOKENFERRY_EVENT\"; printf '%s|' \"$@\" > arguments";

fn alive(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap());
    // One that has ended and was not fetched yet by its new parent is as good as gone.
    let state = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !state.contains(") Z ")
}

#[tokio::test]
async fn a_hook_gets_the_summary_and_no_secret() {
    let hook = Hook::new(LISTENS);
    let bed = Bed::new().await.set(&hook.lines());
    bed.user_rows(1, 120).await;
    bed.api.set_refused_users(["user-7", "user-8"]);
    let mut command = bed.command(&["migrate", "--json"]);
    command
        .env("TOKENFERRY__API__TIMEOUT", "2s")
        .env("TZ", "Europe/Berlin")
        .env("SOMETHING_ELSE", "s3cret-of-others");
    let output = command.output().await.unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();

    let end = hook.told("end");
    assert_eq!(end.len(), 1);
    let mut expected = printed.clone();
    expected["event"] = json!("end");
    assert_eq!(end[0], expected);

    let first = hook.told("first_failure");
    assert_eq!(first.len(), 1, "once, whatever fails after that");
    assert_eq!(
        (&first[0]["event"], &first[0]["run_id"]),
        (&json!("first_failure"), &printed["run_id"])
    );
    assert!(first[0]["tokens"]["failed"].as_i64().unwrap() >= 1);

    for event in ["end", "first_failure"] {
        let environment = hook.wrote(&format!("env.{event}"));
        let names: Vec<&str> = environment
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        // The shell itself sets some.
        let known = [
            "PATH",
            "HOME",
            "LANG",
            "TZ",
            "TOKENFERRY_EVENT",
            "TOKENFERRY_RUN_ID",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        assert!(
            environment.contains("TZ=Europe/Berlin")
                && environment.contains(&format!("TOKENFERRY_EVENT={event}"))
        );
        assert!(environment.contains(&format!("TOKENFERRY_RUN_ID={}", printed["run_id"])));
    }
    assert_eq!(
        hook.wrote("arguments"),
        "an argument with $HOME|",
        "no shell in between"
    );
    for text in [hook.wrote("end"), hook.wrote("first_failure")] {
        assert!(!text.contains(TOKEN) && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_run_that_stops_says_so_and_only_what_was_asked_for_is_told() {
    let hook = Hook::new(LISTENS);
    let bed = Bed::new().await.set(&(hook.lines() + "notify.on = [\"stop\"]"));
    bed.user_rows(1, 20).await;
    let mut command = bed.command(&["migrate"]);
    command.env("DESCOPE_MANAGEMENT_KEY", "Kwrong");
    assert_eq!(command.output().await.unwrap().status.code(), Some(4));
    let told = hook.told("stop");
    assert_eq!((told.len(), &told[0]["status"]), (1, &json!("stopped")));
    assert!(told[0]["stop_reason"].as_str().unwrap().contains("credentials"));

    bed.api.set_refused_users(["user-7"]);
    bed.migrate().await.ended_with(3);
    assert_eq!(
        (hook.wrote("end"), hook.wrote("first_failure")),
        (String::new(), String::new())
    );
}

#[tokio::test]
async fn verifications_and_dry_runs_tell_too() {
    let hook = Hook::new(LISTENS);
    let bed = Bed::new().await.set(&hook.lines());
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set access_token = null where id = 5")
        .await;
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    let modes = |told: Vec<Value>| -> Vec<Value> { told.iter().map(|told| told["mode"].clone()).collect() };
    assert_eq!(modes(hook.told("first_failure")), ["dry_run"]);
    // A limit that was asked for is an end; the next process goes on with the same run.
    bed.run(&["migrate", "--limit", "10"]).await.ended_with(3);
    let run = bed.migrate().await.ended_with(3).json();
    assert_eq!(run["resumed"], true);
    bed.run(&["verify"]).await.ended_with(0);
    assert_eq!(
        modes(hook.told("first_failure")),
        ["dry_run", "migrate", "migrate"],
        "once in each process that met one; the verification met none"
    );
    assert_eq!(
        modes(hook.told("end")),
        ["dry_run", "migrate", "migrate", "verify"]
    );
}

#[tokio::test]
async fn a_hook_that_fails_or_is_not_there_changes_nothing() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    // It neither reads what it is told nor likes it.
    let hook = Hook::new("echo \"a s3cret of the hook\"; echo \"a s3cret of the hook\" >&2; exit 7");
    let bed = bed.set(&hook.lines());
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("hook failed") && ran.stderr.contains("exit status: 7"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("s3cret of the hook") && !ran.stdout.contains("s3cret of the hook"));

    let bed = bed.set("notify.command = [\"/no/such/hook\"]");
    let ran = bed.migrate().await.ended_with(0);
    assert!(ran.stderr.contains("it could not be started"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_all_it_started() {
    // Deaf to requests, with a child that is no better.
    let hook = Hook::new("trap '' TERM INT HUP\nsleep 600 &\necho $! > child\necho $$ > own\nwait");
    let bed = Bed::new()
        .await
        .set(&(hook.lines() + "notify.timeout = \"300ms\"\nnotify.on = [\"end\"]"));
    bed.user_rows(1, 20).await;
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("took longer than `notify.timeout`"),
        "{}",
        ran.stderr
    );
    assert!(!alive(&hook.wrote("own")) && !alive(&hook.wrote("child")));
}

#[tokio::test]
async fn what_is_configured_wrongly_is_said_before_the_run_and_doctor_looks_for_the_program() {
    for (lines, said) in [
        ("notify.command = []", "`notify.command` is empty"),
        ("notify.command = [\"\"]", "`notify.command` is empty"),
        ("notify.command = 5", "`notify.command` must be a program"),
        (
            "notify.command = [\"/bin/true\", \"env:DESCOPE_MANAGEMENT_KEY\"]",
            "must not point to a variable or a file",
        ),
        ("notify.on = [\"ends\"]", "did you mean"),
        ("notify.timeout = \"0s\"", "`notify.timeout` must be a duration"),
    ] {
        let bed = Bed::new().await.set(lines);
        let ran = bed.run(&["migrate", "--log-format", "text"]).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{lines}: {}", ran.stderr);
    }
    let hook = Hook::new("");
    let check = async |command: &str| {
        let bed = Bed::new().await.set(&format!("notify.command = [\"{command}\"]"));
        let report = bed.run(&["doctor", "--json"]).await;
        let checks = report.json()["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["name"] == "notify.command")
            .unwrap()
    };
    assert_eq!(check(hook.path().to_str().unwrap()).await["status"], "ok");
    assert_eq!(check("sh").await["status"], "ok");
    fs::set_permissions(hook.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let absent = check(hook.path().to_str().unwrap()).await;
    assert_eq!(absent["status"], "warning");
    assert!(absent["advice"].as_str().unwrap().contains("chmod +x"));
}

#[tokio::test]
async fn the_first_failure_is_the_first_that_is_not_acknowledged() {
    let hook = Hook::new(LISTENS);
    let bed = Bed::new().await.set(&hook.lines());
    bed.user_rows(1, 20).await;
    bed.api.set_refused_users(["user-7"]);
    bed.migrate().await.ended_with(3);
    bed.run(&["failures", "--acknowledge", "--reason", "known"])
        .await
        .ended_with(0);
    assert_eq!(hook.told("first_failure").len(), 1);
    bed.migrate().await.ended_with(0);
    assert_eq!(hook.told("first_failure").len(), 1);
    let end = hook.told("end").pop().unwrap();
    assert_eq!(end["acknowledged_by_code"].as_object().unwrap().len(), 1);
    bed.api.set_refused_users(["user-7", "user-8"]);
    bed.sql("update legacy_tokens set access_token = 'renewed', updated_at = now() where id = 8")
        .await;
    bed.migrate().await.ended_with(3);
    assert_eq!(hook.told("first_failure").len(), 2);
}
