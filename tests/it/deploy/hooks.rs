//! The sample hooks: what they send, to a stand-in for Slack and to one for sendmail.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    bed::{Bed, TOKEN},
    server::announce,
};

fn hook(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/deploy/hooks")
        .join(name)
}

/// False if a program is missing that a hook needs.
fn can_run(programs: &[&str]) -> bool {
    let missing = programs
        .iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(program) = missing {
        announce(&format!("no {program} on this machine: the hook is not tested"));
    }
    missing.is_none()
}

/// A run of 20 rows, two of which the API refuses; `programs` is the first folder of its PATH.
async fn run_with(lines: &str, programs: &Path) {
    let bed = Bed::new()
        .await
        .set(&format!("migration = \"a <b> & c\"\n{lines}"));
    bed.user_rows(1, 20).await;
    bed.api.set_refused_users(["user-7", "user-8"]);
    let mut command = bed.command(&["migrate"]);
    let path = std::env::var("PATH").unwrap();
    let ended = command
        .env("PATH", format!("{}:{path}", programs.display()))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(!said.contains("hook failed"), "{said}");
}

/// Reads one request to its end.
async fn request(listener: TcpListener) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = socket.read(&mut bytes).await.unwrap();
        text += std::str::from_utf8(&bytes[..count]).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    }
    socket
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
    text
}

#[tokio::test]
async fn slack_is_told_what_happened_and_what_to_do() {
    if !can_run(&["jq", "curl"]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = tokio::spawn(request(listener));
    let folder = TempDir::new().unwrap();
    let webhook = folder.path().join("webhook");
    fs::write(&webhook, format!("http://{address}/services/T0/B0/secret\n")).unwrap();
    let lines = format!(
        "notify.command = [\"{}\", \"{}\"]\nnotify.on = [\"end\"]",
        hook("slack.sh").display(),
        webhook.display()
    );
    run_with(&lines, folder.path()).await;
    let told = told.await.unwrap();
    assert!(told.starts_with("POST /services/T0/B0/secret "), "{told}");
    let message: Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        message["text"],
        "*tokenferry: a &lt;b&gt; &amp; c, migration 1: completed, some failed*\n\
         20 selected, 18 committed, 0 unchanged, 0 superseded, 2 failed\n2 E112102\ntokenferry failures --run 1"
    );
    assert!(!told.contains(TOKEN));
}

#[tokio::test]
async fn a_mail_has_one_subject_and_what_to_do() {
    if !can_run(&["jq"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let sendmail = folder.path().join("sendmail");
    fs::write(
        &sendmail,
        format!("#!/bin/sh\ncat > '{}/mail'\n", folder.path().display()),
    )
    .unwrap();
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    let lines = format!(
        "notify.command = [\"{}\", \"ops@example.com\"]\nnotify.on = [\"end\"]",
        hook("email.sh").display()
    );
    run_with(&lines, folder.path()).await;
    let mail = fs::read_to_string(folder.path().join("mail")).unwrap();
    let (headers, body) = mail.split_once("\n\n").unwrap();
    assert_eq!(
        headers.lines().take(3).collect::<Vec<_>>(),
        [
            "From: ops@example.com",
            "To: ops@example.com",
            "Subject: tokenferry: a <b> & c, migration 1: completed, some failed"
        ]
    );
    assert!(
        body.contains("18 committed") && body.contains("2 E112102\ntokenferry failures --run 1"),
        "{mail}"
    );
    assert!(!mail.contains(TOKEN));
}

/// A name with a line break writes no header of its own.
#[test]
fn a_name_becomes_no_header() {
    if !can_run(&["jq"]) {
        return;
    }
    let mut jq = Command::new("jq")
        .args(["-r", "-L"])
        .arg(hook(""))
        .arg("include \"summary\"; subject")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = r#"{"event": "stop", "migration": "a\nBcc: all@example.com", "mode": "verify", "run_id": 5, "status": "stopped"}"#;
    jq.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
    let output = jq.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "tokenferry: a Bcc: all@example.com, verification 5: stopped\n"
    );
}
