//! The configuration: every value with its origin, no secret, every problem.

use std::process::Stdio;

use super::{Checks, doctor};
use crate::support::bed::Bed;

#[tokio::test]
async fn every_value_has_an_origin_and_secrets_stay_hidden() {
    let bed = Bed::new().await.set("source.where = \"provider <> 'hunter2'\"");
    bed.rows(1, 20).await;
    let secret_url = bed.database.url_for("nobody", "pa55word", None);
    let variables = [
        ("TOKENFERRY__BATCH__MAX_TOKENS", "50"),
        ("TOKENFERRY__LEDGER__PEPPER", "black-pepper"),
        ("TOKENFERRY__LEDGER__URL", secret_url.as_str()),
    ];
    let ran = doctor(&bed, &variables).await;
    let checks = Checks::of(&ran);
    checks.assert("configuration", "migration", "ok", "test (file)");
    checks.assert(
        "configuration",
        "source.url",
        "ok",
        "(file, from env:SOURCE_DATABASE_URL)",
    );
    checks.assert(
        "configuration",
        "batch.max_tokens",
        "ok",
        "50 (environment, TOKENFERRY__BATCH__MAX_TOKENS)",
    );
    checks.assert("configuration", "batch.concurrency", "ok", "4 (default)");
    checks.assert("configuration", "stop.after_failed_batches", "ok", "10 (default)");
    checks.assert("configuration", "source.where", "ok", "(hidden) (file)");
    checks.assert(
        "configuration",
        "ledger.pepper",
        "ok",
        "(hidden) (environment, TOKENFERRY__LEDGER__PEPPER)",
    );
    checks.assert("configuration", "ledger.url", "ok", "nobody:***@");
    checks.assert("configuration", "source.query", "ok", "not set");
    let told = format!("{}{}", ran.stdout, ran.stderr);
    for secret in [
        "pa55word",
        "black-pepper",
        "hunter2",
        bed.api.management_key().reveal(),
    ] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_gets_a_whole_report_all_the_same() {
    let bed = Bed::new()
        .await
        .set("batch.max_token = 5\napi.timeout = \"soon\"");
    bed.rows(1, 20).await;
    let ran = doctor(&bed, &[("TOKENFERRY__BATCH__ON_FAILURE", "explode")])
        .await
        .ended_with(2);
    let checks = Checks::of(&ran);
    checks.assert(
        "configuration",
        "batch.max_token",
        "failed",
        "did you mean `batch.max_tokens`? (file)",
    );
    checks.assert("configuration", "api.timeout", "failed", "must be a duration");
    checks.assert(
        "configuration",
        "batch.on_failure",
        "failed",
        "must be \\\"isolate\\\" or \\\"reject\\\" (environment, TOKENFERRY__BATCH__ON_FAILURE)",
    );
    // What does not depend on these is looked at.
    checks.assert("source", "connection", "ok", "Postgres");
    checks.assert("ledger", "schema", "ok", "does not exist yet");

    // Nothing but nonsense.
    let path = bed.config();
    for (text, said) in [("[source\nurl = \"pa55word\"", "line 1"), ("", "is missing")] {
        std::fs::write(&path, text).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        command.args(["doctor", "--json", "--config"]).arg(&path);
        let ran = crate::support::bed::Ran::from(command.output().await.unwrap()).ended_with(2);
        let checks = Checks::of(&ran);
        assert!(
            ran.stdout.contains(said) && !ran.stdout.contains("pa55word"),
            "{}",
            ran.stdout
        );
        checks.assert("source", "connection", "skipped", "needs");
        checks.assert("ledger", "connection", "skipped", "needs");
    }
    std::fs::remove_file(&path).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    command.args(["doctor", "--json", "--config"]).arg(&path);
    let ran = crate::support::bed::Ran::from(command.output().await.unwrap()).ended_with(2);
    let checks = Checks::of(&ran);
    checks.assert(
        "configuration",
        "file",
        "failed",
        "there is no configuration file",
    );
    let advice = checks.get("configuration", "file")["advice"].as_str().unwrap();
    assert!(
        advice.contains("`tokenferry config example > tokenferry.toml`"),
        "{advice}"
    );
}

/// The file is right: what is wrong is elsewhere.
#[tokio::test]
async fn what_a_value_points_to_is_what_the_advice_is_about() {
    let bed = Bed::new()
        .await
        .set("source.url = \"env:NOT_SET_HERE\"\napi.management_key = \"file:/not/there\"");
    let ran = doctor(&bed, &[]).await.ended_with(2);
    let checks = Checks::of(&ran);
    for (key, part) in [
        ("source.url", "set the variable NOT_SET_HERE"),
        ("api.management_key", "check that this user can read /not/there"),
    ] {
        let advice = checks.get("configuration", key)["advice"].as_str().unwrap();
        assert!(advice.starts_with(part), "{advice}");
        assert!(!advice.contains("in the file"), "{advice}");
    }
}

#[tokio::test]
async fn people_get_lines_and_a_closed_pipe_is_no_panic() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let ran = bed.run(&["doctor"]).await.ended_with(0);
    for said in ["warning  ", "\nTo fix\n  1. ", " failed, "] {
        assert!(ran.stdout.contains(said), "{said:?}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("\n  ok "), "{}", ran.stdout);
    let ran = bed.run(&["doctor", "-v"]).await.ended_with(0);
    for said in ["configuration\n", "source\n", "ledger\n", "API\n", "\n  ok "] {
        assert!(ran.stdout.contains(said), "{said:?}: {}", ran.stdout);
    }

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bed.command(&["doctor", "--json"]);
    command.stdout(Stdio::from(writer));
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panic"), "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

#[tokio::test]
async fn files_that_others_can_change_or_secrets_that_they_can_read_are_warned_of() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text, mode) in [("key", "K2-of-the-test", 0o644), ("hook", "#!/bin/sh\n", 0o777)] {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let bed = Bed::new().await.set(&format!(
        "api.management_key = \"file:{}\"
         notify.command = [\"{}\"]",
        path("key").display(),
        path("hook").display()
    ));
    bed.rows(1, 5).await;
    let ran = doctor(&bed, &[]).await;
    for warning in ["can read", "can change"] {
        assert!(
            ran.stdout
                .contains(&format!("every user of this machine {warning}")),
            "{}",
            ran.stdout
        );
    }
    fs::set_permissions(path("key"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    let ran = doctor(&bed, &[]).await;
    assert!(!ran.stdout.contains("permissions"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_base_url_with_a_password_is_refused_and_shown_without_it() {
    let bed = Bed::new()
        .await
        .set("api.base_url = \"https://ferry:hunter2@api.descope.com\"");
    let ran = doctor(&bed, &[]).await;
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("must not carry a user name or password"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let ran = bed.migrate().await.ended_with(2);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}
