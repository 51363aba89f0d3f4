//! A ledger's tokens belong to where they went: another project or address holds none of them. Other
//! migrations of the ledger have to do with it where theirs went to the same place.

use std::time::Duration;

use serde_json::{Value, json};
use tokenferry::simulator::{Barrier, Fault, Simulator};
use tokio::time::timeout;

use crate::support::bed::{Bed, Ran, ended};

/// With another project than the one the migration began with.
async fn elsewhere(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut command = bed.command(arguments);
    ended(command.env("DESCOPE_PROJECT_ID", "Pother").output()).await
}

fn check<'a>(doctor: &'a Value, name: &str) -> &'a Value {
    let checks = doctor["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["area"] == "ledger" && check["name"] == name)
        .unwrap()
}

/// Whatever relies on what is stored refuses, and says where the tokens are and where they are not.
async fn assert_refused(bed: &Bed, arguments: &[&str], parts: &[&str]) {
    let refused = elsewhere(bed, arguments).await.ended_with(2);
    for part in parts {
        assert!(
            refused.stderr.contains(part),
            "{arguments:?}, {part}: {}",
            refused.stderr
        );
    }
}

const COMMANDS: [&[&str]; 4] = [
    &["migrate"],
    &["migrate", "--dry-run"],
    &["migrate", "--only-failed"],
    &["verify"],
];

#[tokio::test]
async fn another_project_or_address_is_refused_by_everything_that_relies_on_what_is_stored() {
    let bed = Bed::new().await;
    bed.user_rows(1, 28).await;
    bed.migrate().await.ended_with(0);
    let before = bed.ledger_without("none").await;
    let (project, url) = (bed.api.project_id(), bed.api.base_url());
    let went_to = format!("went to project {project} at {url}");
    for arguments in COMMANDS {
        let parts = [
            went_to.as_str(),
            "names project Pother at ",
            "another `ledger.schema`",
        ];
        assert_refused(&bed, arguments, &parts).await;
    }
    let doctor = elsewhere(&bed, &["doctor", "--json"]).await.ended_with(2).json();
    let target = check(&doctor, "target");
    assert_eq!(target["status"], "failed", "{target}");
    assert!(target["detail"].as_str().unwrap().contains(&went_to), "{target}");
    assert_eq!(bed.ledger_without("none").await, before, "nothing began");

    let other = Simulator::builder().project_id(project).start().await.unwrap();
    let address = other.base_url().to_string();
    let bed = bed.set(&format!("api.base_url = \"{address}\""));
    let refused = bed.migrate().await.ended_with(2);
    assert!(refused.stderr.contains(&address), "{}", refused.stderr);
    let bed = bed.set("");
    bed.migrate().await.ended_with(0);
    bed.run(&["doctor"]).await.ended_with(0);
    // What was taken back is nowhere.
    bed.run(&["rollback", "--run", "1", "--yes"]).await.ended_with(0);
    let bed = bed.set(&format!("api.base_url = \"{address}\""));
    let mut command = bed.command(&["migrate", "--json"]);
    let key = other.management_key().clone();
    let moved = command.env("DESCOPE_MANAGEMENT_KEY", key.reveal());
    let moved = ended(moved.output()).await.ended_with(0).json();
    assert_eq!(
        (&moved["tokens"]["committed"], other.stored_count()),
        (&json!(28), 28)
    );
}

#[tokio::test]
async fn a_project_that_refused_everything_binds_nobody() {
    let bed = Bed::new().await;
    bed.user_rows(1, 28).await;
    elsewhere(&bed, &["migrate"]).await.ended_with(4);
    elsewhere(&bed, &["migrate", "--dry-run"]).await.ended_with(0);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["resumed"], &ran["tokens"]["committed"]),
        (&json!(true), &json!(28))
    );
    let api = bed.texts("select api from tokenferry.runs where id = 1").await;
    let here = format!("project {} at {}", bed.api.project_id(), bed.api.base_url());
    assert!(api[0].starts_with(&here), "{api:?}");
    bed.run(&["rollback", "--run", "1", "--yes"]).await.ended_with(0);
}

#[tokio::test]
async fn tokens_of_which_nobody_knows_where_they_went_are_bound_by_the_first_run_that_says_so() {
    let bed = Bed::new().await;
    bed.user_rows(1, 28).await;
    bed.migrate().await.ended_with(0);
    for unknown in ["null", "''"] {
        bed.sql(&format!("update tokenferry.runs set api = {unknown}"))
            .await;
        // A run that never got anywhere says nothing.
        bed.user_rows(29, 29).await;
        elsewhere(&bed, &["migrate"]).await.ended_with(4);
        bed.sql("delete from legacy_tokens where id = 29").await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["unchanged"], 28);
        for arguments in COMMANDS {
            assert_refused(&bed, arguments, &["went to project ", "names project Pother at "]).await;
        }
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_batch_in_flight_is_somewhere_too() {
    let bed = Bed::new().await;
    bed.user_rows(1, 28).await;
    let _ = bed.killed_at(&["migrate"], "answered", 1).await;
    assert_refused(
        &bed,
        &["migrate"],
        &["went to project ", "names project Pother at "],
    )
    .await;
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_renamed_migration_is_told_that_it_sends_everything_again() {
    let bed = Bed::new().await;
    bed.user_rows(1, 28).await;
    let ran = bed.migrate().await.ended_with(0);
    assert!(!ran.stderr.contains("under its old name"), "{}", ran.stderr);
    let bed = bed.set("migration = \"renamed\"");
    let doctor = bed.run(&["doctor", "--json"]).await.ended_with(0).json();
    let found = check(&doctor, "migration");
    assert_eq!(found["status"], "warning", "{found}");
    assert!(
        found["detail"].as_str().unwrap().contains("\"test\" (28 tokens)"),
        "{found}"
    );
    for arguments in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let told = bed.run(arguments).await.ended_with(0).stderr;
        for part in ["test", "28 tokens", "under its old name"] {
            assert!(told.contains(part), "{arguments:?}: {told}");
        }
    }
    // It has tokens of its own now.
    let again = bed.migrate().await.ended_with(0);
    assert!(!again.stderr.contains("under its old name"), "{}", again.stderr);
    let doctor = bed.run(&["doctor", "--json"]).await.ended_with(0).json();
    assert_eq!(check(&doctor, "migration")["status"], "ok");
    // Tokens elsewhere are nobody's former ones.
    let bed = bed.set("migration = \"third\"");
    bed.sql("update tokenferry.runs set api = 'project P at https://elsewhere.example/'")
        .await;
    let dry = bed.run(&["migrate", "--dry-run"]).await.ended_with(0);
    assert!(!dry.stderr.contains("under its old name"), "{}", dry.stderr);
}

/// The tokens of users 1 to 20 in a table of their own, for a second migration: `age` is added to when they
/// were updated.
async fn second_table(bed: &Bed, age: &str) {
    bed.sql(&format!(
        "drop table if exists second_tokens; create table second_tokens (like legacy_tokens including all);
         insert into second_tokens (id, provider, user_id, access_token, expires_at, updated_at)
         select id + 1000, provider, user_id, 'second-' || id, expires_at, updated_at + interval '{age}' from legacy_tokens"
    ))
    .await;
}

const FIRST: &str = "";
const SECOND: &str = "migration = \"second\"\nsource.table = \"second_tokens\"";
const SECOND_WITHOUT_VERSIONS: &str = "migration = \"second\"\nsource.table = \"second_tokens\"\n\
                                       source.columns.updated_at = { sql = \"null::timestamptz\" }";

/// How many of the stored tokens are the second migration's.
fn of_second(bed: &Bed) -> usize {
    let stored = bed.api.stored();
    let tokens = stored.iter().filter_map(|token| token.exposed_access_token());
    tokens.filter(|token| token.starts_with("second-")).count()
}

async fn books(bed: &Bed, committed: i64, superseded: i64, unchanged: i64) -> Value {
    let expected = json!({
        "selected": committed + superseded + unchanged, "committed": committed, "failed": 0, "superseded": superseded,
        "unchanged": unchanged
    });
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(dry["tokens"], expected, "dry run");
    let ran = bed.migrate().await.ended_with(0);
    let mut summary = ran.json();
    assert_eq!(summary["tokens"], expected);
    assert_eq!(summary["warnings_by_code"], dry["warnings_by_code"]);
    summary["log"] = json!(ran.stderr);
    summary
}

#[tokio::test]
async fn an_older_token_of_another_migration_does_not_go_over_the_newer_one() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    second_table(&bed, "-1 day").await;
    books(&bed, 20, 0, 0).await;
    let bed = bed.set(SECOND);
    books(&bed, 0, 20, 0).await;
    assert_eq!((of_second(&bed), bed.api.stored_count()), (0, 20));
    let bed = bed.set(FIRST);
    books(&bed, 0, 0, 20).await;
    bed.assert_arrived_once().await;
    // Of another project, they are somewhere else.
    bed.sql(
        "update tokenferry.runs set api = 'project P at https://elsewhere.example/' where migration = 'test'",
    )
    .await;
    let bed = bed.set(SECOND);
    books(&bed, 20, 0, 0).await;
}

#[tokio::test]
async fn a_newer_token_of_another_migration_takes_the_place_and_what_was_there_is_not_called_unchanged() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    second_table(&bed, "1 day").await;
    books(&bed, 20, 0, 0).await;
    let bed = bed.set(SECOND);
    books(&bed, 20, 0, 0).await;
    let bed = bed.set(FIRST);
    books(&bed, 0, 20, 0).await;
    bed.sql("update legacy_tokens set updated_at = updated_at + interval '2 days', access_token = 'newest' where id <= 3")
        .await;
    books(&bed, 3, 17, 0).await;
    let bed = bed.set(SECOND);
    books(&bed, 0, 3, 17).await;
    assert_eq!(of_second(&bed), 17);
    // As earlier versions left it: older ones of the second migration have gone over newer ones of the first.
    bed.move_to_rows().await;
    bed.sql("update tokenferry.token_rows set source_version = 0 where migration = 'second'")
        .await;
    let bed = bed.set(FIRST);
    books(&bed, 17, 0, 3).await;
    assert_eq!(of_second(&bed), 0);
}

#[tokio::test]
async fn what_cannot_be_compared_is_told_with_the_names_of_both_migrations() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    second_table(&bed, "0").await;
    books(&bed, 20, 0, 0).await;
    let bed = bed.set(SECOND_WITHOUT_VERSIONS);
    let second = books(&bed, 20, 0, 0).await;
    assert_eq!(second["warnings_by_code"], json!({"other_migration": 20}));
    let log = second["log"].as_str().unwrap();
    assert!(log.contains("cannot be compared"), "{log}");
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    for name in ["\"test\"", "\"second\""] {
        assert!(text.contains(name), "{text}");
    }
    let again = books(&bed, 0, 0, 20).await;
    assert_eq!(again["warnings_by_code"], json!({}));
    // What was overwritten is not called stored, and nobody takes turns.
    let bed = bed.set(FIRST);
    let first = books(&bed, 0, 20, 0).await;
    assert_eq!(first["warnings_by_code"], json!({"other_migration": 20}));
    assert_eq!(of_second(&bed), 20);
}

/// The ledger was empty when the first began, and is not any more.
#[tokio::test]
async fn what_another_migration_sends_meanwhile_is_seen() {
    let bed = Bed::new().await;
    bed.user_rows(1, 400).await;
    bed.sql(
        "create table second_tokens (like legacy_tokens including all);
         insert into second_tokens (id, provider, user_id, access_token, updated_at)
         select id, provider, user_id, 'second-' || id, updated_at + interval '1 day' from legacy_tokens where id > 380",
    )
    .await;
    let slow = "source.page_size = 10\nbatch.max_tokens = 5\nbatch.concurrency = 1\napi.timeout = \"60s\"";
    let bed = bed.set(slow);
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let first = bed.spawn_migrate();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    let bed = bed.set(SECOND);
    let second = bed.migrate().await.ended_with(0);
    assert!(
        second
            .stderr
            .contains("are currently sending to the same project"),
        "{}",
        second.stderr
    );
    gate.release();
    let first = ended(first.wait_with_output()).await.ended_with(0).json();
    assert_eq!(
        (&first["tokens"]["committed"], &first["tokens"]["superseded"]),
        (&json!(380), &json!(20))
    );
    assert_eq!(of_second(&bed), 20);
}
