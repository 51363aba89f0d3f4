//! `init` and a person at a terminal.

use std::{
    fs::{self, File},
    io::{Read, Write},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::pty::openpty;
use serde_json::json;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use super::{Store, stored};

/// Answers each question once it is on the terminal.
async fn answer(mut command: Command, answers: &[(&str, &str)]) -> (i32, String) {
    let pty = openpty(None, None).unwrap();
    command
        .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
        .stderr(Stdio::from(pty.slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(pty.master);
    let seen = Arc::new(Mutex::new(String::new()));
    let (mut output, writes) = (terminal.try_clone().unwrap(), Arc::clone(&seen));
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        // Ends with an error when nobody has the other end any more.
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            writes.lock().unwrap().push_str(&text);
        }
    });
    for (question, answer) in answers {
        let is_there = async {
            while !seen.lock().unwrap().contains(question) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let asked = timeout(Duration::from_secs(60), is_there).await;
        asked.unwrap_or_else(|_| panic!("{question}: {}", seen.lock().unwrap()));
        terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap()
        .unwrap();
    let seen = seen.lock().unwrap().clone();
    (status.code().unwrap(), seen)
}

#[tokio::test]
async fn a_person_at_a_terminal_is_asked_what_only_a_person_can_decide() {
    let store = Store::of("authjs-prisma");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let mut command = store.command(&bed, folder.path(), &["init"]);
    command.env_remove("SOURCE_DATABASE_URL");
    let (code, seen) = answer(
        command,
        &[
            ("not shown: ", bed.database.url()),
            ("Name of the migration", "accounts"),
            ("the store's own ID (`id`)?", "yes"),
            ("yes is none of the answers", "id"),
            ("Outbound app of \"github\"?", "repositories"),
            ("Outbound app of \"google\"?", ""),
        ],
    )
    .await;
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains(bed.database.url()), "{seen}");
    let (found, asked) = (seen.find("Found: Auth.js"), seen.find("Name of the migration"));
    assert!(found.is_some() && found < asked, "{seen}");
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    for line in [
        "migration = \"accounts\"",
        "\nuser_id = \"userId\"\n",
        "\"github\" = \"repositories\"",
        "\"google\" = \"google\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(!written.contains("OPEN"), "{written}");
    store
        .run(&bed, folder.path(), &["config", "check"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn an_app_that_a_person_leaves_out_is_not_read() {
    let store = Store::of("django-allauth");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let command = store.command(&bed, folder.path(), &["init"]);
    let (code, seen) = answer(
        command,
        &[
            ("Name of the migration", ""),
            ("the store's own ID (`id`)?", ""),
            ("Outbound app of \"github\"?", "-"),
            ("Outbound app of \"google\"?", ""),
        ],
    )
    .await;
    assert_eq!(code, 0, "{seen}");
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    assert!(!written.contains("\"github\" ="), "{written}");
    let ran = store
        .run(&bed, folder.path(), &["migrate", "--json"])
        .await
        .ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 1, "{}", ran.stdout);
    // Tokens of OAuth 1, which the preset leaves out, are left out all the same.
    let google = &store.stored.as_array().unwrap()[1];
    assert_eq!(stored(&bed), json!([google]));
}
