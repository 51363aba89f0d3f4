//! Nothing that the program has is missing from the reference, and the reference names nothing that it has
//! not.

use std::{collections::BTreeSet, fs, path::Path};

use clap::CommandFactory;
use serde_json::Value;
use tokenferry::{
    cli::{Cli, Exit},
    config::known_keys,
    domain::{EventKind, Superseded},
};

use super::{inline_code, page, pages, root};
use crate::support::bed::{Bed, ended};

/// The code in the first cell of a table's rows.
fn first_cells(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|name| !name.is_empty() && *name != ", ")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_is_in_the_configuration_reference() {
    let text = page("docs/reference/configuration.md");
    let described: BTreeSet<&str> = inline_code(&text).collect();
    // Their keys are the user's own.
    let free = ["apps", "source.session"];
    for key in known_keys().iter().filter(|key| !free.contains(&key.as_str())) {
        assert!(described.contains(key.as_str()), "{key}");
    }
    for table in free {
        assert!(text.contains(&format!("## [{table}]\n")), "{table}");
    }
}

#[tokio::test]
async fn every_key_is_in_the_manual_page_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let man1 = folder.path().join("man1");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    ended(command.args(["man", "--output"]).arg(&man1).output())
        .await
        .ended_with(0);
    let manual = fs::read_to_string(folder.path().join("man5/tokenferry.toml.5")).unwrap();
    for key in known_keys()
        .iter()
        .filter(|key| *key != "apps" && *key != "source.session")
    {
        assert!(manual.contains(&format!("\\fB{key}\\fR")), "{key}");
    }
}

#[test]
fn every_command_is_in_a_page_that_was_written_for_people() {
    let written: String = pages()
        .iter()
        .filter(|path| !path.ends_with("reference/commands.md"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for command in Cli::command().get_subcommands() {
        let quoted = format!("tokenferry {}", command.get_name());
        assert!(written.contains(&quoted), "{quoted}");
    }
}

#[test]
fn every_exit_code_is_in_the_readme_and_in_the_reference() {
    for name in [
        "README.md",
        "docs/reference/exit-codes.md",
        "docs/guides/schedule.md",
    ] {
        let text = page(name);
        for exit in [
            Exit::Done,
            Exit::Unforeseen,
            Exit::Usage,
            Exit::SomeFailed,
            Exit::StoppedEarly,
            Exit::Locked,
            Exit::Database,
            Exit::Signal(2),
        ] {
            let code = exit.code();
            let row = text.lines().find(|line| {
                line.starts_with(&format!("| {code} |")) || line.starts_with(&format!("| {code}, "))
            });
            assert!(row.is_some(), "{name}: {code}");
        }
    }
}

/// Every text literal of the program could be a message.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

#[test]
fn the_log_has_the_messages_that_are_described() {
    let sources = sources(&root().join("src"));
    let messages = first_cells(&page("docs/reference/log-events.md"));
    assert!(messages.len() >= 15, "{messages:?}");
    for message in messages {
        let begins = message.trim_end_matches('…').trim_end();
        assert!(
            sources.contains(&format!("\"{begins}")),
            "nothing logs `{message}`"
        );
    }
}

#[test]
fn words_that_the_ledger_stores_are_described() {
    let text = page("docs/reference/ledger-tables.md");
    let described: BTreeSet<&str> = inline_code(&text).collect();
    for kind in EventKind::ALL {
        assert!(described.contains(kind.as_str()), "{}", kind.as_str());
    }
    for code in [
        Superseded::NEWER_ROW,
        Superseded::NEWER_ELSEWHERE,
        Superseded::OLDER_VERSION,
        Superseded::OTHER_MIGRATION,
        Superseded::REPLACED,
    ] {
        assert!(described.contains(code), "{code}");
    }
}

#[tokio::test]
async fn the_ledger_has_the_tables_and_columns_that_are_described() {
    let bed = Bed::new().await;
    bed.rows(1, 3).await;
    bed.run(&["migrate"]).await.ended_with(0);
    let columns: BTreeSet<String> = bed
        .texts(
            "select table_name || '.' || column_name from information_schema.columns where table_schema = 'tokenferry'",
        )
        .await
        .into_iter()
        .collect();
    let tables: BTreeSet<&str> = columns
        .iter()
        .map(|column| column.split('.').next().unwrap())
        .collect();
    let text = page("docs/reference/ledger-tables.md");
    let mut described = BTreeSet::new();
    for section in text.split("\n## `").skip(1) {
        let (table, section) = section.split_once('`').unwrap();
        described.insert(table);
        for column in first_cells(section) {
            assert!(columns.contains(&format!("{table}.{column}")), "{table}.{column}");
        }
    }
    // sqlx's own record of what was applied.
    let expected: BTreeSet<&str> = tables
        .into_iter()
        .filter(|table| *table != "_sqlx_migrations")
        .collect();
    assert_eq!(described, expected);
}

/// The names of all fields, those of maps with free keys aside.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                into.insert(name.clone());
                if !name.ends_with("_by_code") {
                    fields(inner, into);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| fields(inner, into)),
        _ => {}
    }
}

#[tokio::test]
async fn every_field_of_the_json_is_described() {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    bed.api.set_refused_users(["user-7"]);
    let mut found = BTreeSet::new();
    for (command, exit) in [
        (&["migrate", "--dry-run", "--json"][..], 0),
        (&["migrate", "--json"], 3),
        (&["status", "--json"], 0),
        (&["runs", "--json"], 0),
        (&["failures", "--format", "json"], 0),
        (&["show", "user-8", "--json"], 0),
        (&["doctor", "--json"], 0),
        (&["verify", "--sample", "3", "--json"], 0),
        (&["rollback", "--run", "2", "--yes", "--json"], 0),
    ] {
        let ran = bed.run(command).await.ended_with(exit);
        fields(&serde_json::from_str(&ran.stdout).unwrap(), &mut found);
    }
    let text = page("docs/reference/json.md");
    let described: BTreeSet<&str> = inline_code(&text).collect();
    let missing: Vec<&String> = found
        .iter()
        .filter(|field| !described.contains(field.as_str()))
        .collect();
    assert!(found.len() > 60 && missing.is_empty(), "{missing:?}");
}
