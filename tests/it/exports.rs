//! Exports: the outcome of every row, and what changed between the failures of two runs.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::bed::{Bed, TOKEN, ended};

/// Rows 1 to 30: one fails, one is left out, the others arrive.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    bed.sql(
        "update legacy_tokens set access_token = null where id = 4;
         update legacy_tokens set user_id = 'user-6', updated_at = now() - interval '1 day' where id = 5;
         update legacy_tokens set user_id = null, tenant_id = '=acme' where id = 10",
    )
    .await;
    bed
}

/// The objects of `outcomes`, by key.
async fn outcomes(bed: &Bed) -> Vec<Value> {
    let ran = bed.run(&["outcomes", "--format", "json"]).await.ended_with(0);
    assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);
    let mut rows: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        ran.stderr
            .contains(&format!("{} rows have an outcome", rows.len()))
    );
    rows.sort_by_key(|row| row["source_key"].as_str().unwrap().parse::<i64>().unwrap());
    rows
}

#[tokio::test]
async fn the_outcome_of_every_row_wherever_the_ledger_keeps_it() {
    let bed = bed().await;
    bed.migrate().await.ended_with(3);
    // One of the packed tokens gets a row of its own.
    bed.sql("update legacy_tokens set scope = 'files', updated_at = now() where id = 20")
        .await;
    bed.migrate().await.ended_with(3);
    bed.run(&["failures", "--acknowledge", "--reason", "known"])
        .await
        .ended_with(0);
    let rows = outcomes(&bed).await;
    let keys: Vec<&str> = rows
        .iter()
        .map(|row| row["source_key"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (1..=30).map(|key| key.to_string()).collect();
    assert_eq!(keys, expected);
    let brief = |key: usize| {
        let row = &rows[key - 1];
        json!([
            row["state"],
            row["user_id"],
            row["tenant_id"],
            row["code"],
            row["run_id"]
        ])
    };
    assert_eq!(brief(1), json!(["committed", "user-1", null, null, 1]));
    assert_eq!(brief(4), json!(["failed", "user-4", null, "no_token", 2]));
    assert_eq!(brief(5), json!(["superseded", "user-6", null, "newer_row", 2]));
    assert_eq!(brief(10), json!(["committed", null, "=acme", null, 1]));
    assert_eq!(brief(20), json!(["committed", "user-20", null, null, 2]));
    assert_eq!(
        (
            &rows[3]["acknowledgement"],
            &rows[3]["refused_by"],
            &rows[4]["superseded_by"]
        ),
        (&json!("known"), &json!("validation"), &json!("6"))
    );
    assert!(rows[4]["reason"].is_string() && rows[0]["updated_at"].is_string());

    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    bed.run(&["outcomes", "--format", "csv", "--output", path])
        .await
        .ended_with(0);
    let csv = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        csv.lines().next().unwrap(),
        "source_key,app_id,user_id,tenant_id,state,refused_by,code,reason,superseded_by,acknowledgement,run_id,updated_at"
    );
    assert_eq!(csv.lines().count(), 31);
    assert!(csv.contains("\n10,google,,'=acme,committed,"), "{csv}");
    assert!(!csv.contains(TOKEN));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_the_export() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5000).await;
    bed.migrate().await.ended_with(0);
    for format in ["json", "csv"] {
        let mut child = bed
            .command(&["outcomes", "--format", format])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next_line().await.unwrap().is_some());
        drop(lines);
        let ran = ended(child.wait_with_output()).await.ended_with(0);
        assert_eq!(ran.stderr, "", "{format}");
    }
}

/// What `failures --since` says of each row: its change, and its code then and now.
async fn changes(bed: &Bed, run: i64, since: i64) -> Vec<Value> {
    let (run, since) = (run.to_string(), since.to_string());
    let ran = bed
        .run(&["failures", "--run", &run, "--since", &since, "--format", "json"])
        .await
        .ended_with(0);
    ran.json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            json!([
                row["change"],
                row["source_key"],
                row["error_code_before"],
                row["error_code"]
            ])
        })
        .collect()
}

#[tokio::test]
async fn failures_of_two_runs_are_compared() {
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"]] {
        let bed = Bed::new().await;
        bed.user_rows(1, 20).await;
        bed.sql(
            "update legacy_tokens set access_token = null where id in (3, 4);
             update legacy_tokens set provider = null where id in (5, 6, 8)",
        )
        .await;
        bed.run(arguments).await.ended_with(3);
        bed.sql(
            "update legacy_tokens set access_token = 'token' where id = 3;
             update legacy_tokens set access_token = null where id = 7;
             update legacy_tokens set provider = 'google', access_token = null where id = 6;
             delete from legacy_tokens where id = 8",
        )
        .await;
        bed.run(arguments).await.ended_with(3);
        // Later runs change nothing about it.
        bed.run(arguments).await.ended_with(3);
        let gone = match arguments {
            // A row that is gone keeps its outcome.
            ["migrate"] => json!(["not_read", "8", "no_app", null]),
            _ => json!(["resolved", "8", "no_app", null]),
        };
        let mut told = changes(&bed, 2, 1).await;
        told.sort_by_key(|row| row[1].to_string());
        assert_eq!(
            told,
            [
                json!(["resolved", "3", "no_token", null]),
                json!(["unchanged", "4", "no_token", "no_token"]),
                json!(["unchanged", "5", "no_app", "no_app"]),
                json!(["new", "6", "no_app", "no_token"]),
                json!(["new", "7", null, "no_token"]),
                gone,
            ],
            "{arguments:?}"
        );
        let mut unchanged = changes(&bed, 3, 2).await;
        unchanged.retain(|row| row[0] != "unchanged");
        assert_eq!(unchanged, [Value::Null; 0], "{arguments:?}");
        let table = bed
            .run(&["failures", "--run", "2", "--since", "1"])
            .await
            .ended_with(0);
        assert!(table.stderr.contains("2 new, "), "{}", table.stderr);
        assert!(table.stdout.contains("resolved"), "{}", table.stdout);
        let widest = table.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{}", table.stdout);
        let csv = bed
            .run(&["failures", "--run", "2", "--since", "1", "--format", "csv"])
            .await
            .ended_with(0)
            .stdout;
        assert!(
            csv.starts_with(
                "change,source_key,app_id,user_id,tenant_id,refused_by,error_code,reason,error_code_before\nnew,"
            ),
            "{csv}"
        );
    }
}

#[tokio::test]
async fn a_run_that_did_not_come_to_a_row_resolved_nothing() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set access_token = null where id in (3, 18)")
        .await;
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    bed.run(&["migrate", "--dry-run", "--limit", "5"]).await;
    let told = changes(&bed, 2, 1).await;
    assert!(told.iter().all(|row| row[0] != "resolved"), "{told:?}");
    for (arguments, said) in [
        (["--run", "1", "--since", "1"], "must be an earlier run"),
        (["--run", "9", "--since", "1"], "there is no run 9"),
    ] {
        let arguments = [&["failures"], &arguments[..]].concat();
        let ran = bed.run(&arguments).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    // A later run resolved what this one left out.
    bed.sql("update legacy_tokens set provider = null where id = 18")
        .await;
    bed.migrate().await.ended_with(3);
    bed.sql("update legacy_tokens set access_token = 'access-token-' || id, provider = 'google' where id in (3, 18)")
        .await;
    let run = bed.number("select max(id) from tokenferry.runs").await;
    bed.run(&["migrate", "--only-failed", "--code", "no_token"])
        .await
        .ended_with(0);
    bed.run(&["migrate", "--only-failed"]).await.ended_with(0);
    let told = changes(&bed, run + 1, run).await;
    assert_eq!(told.len(), 2);
    for row in &told {
        let expected = if row[1] == "3" { "resolved" } else { "not_read" };
        assert_eq!(row[0], expected, "{told:?}");
    }
    bed.sql("update legacy_tokens set access_token = null where id in (3, 18)")
        .await;
    // Of runs of an earlier version, nothing is kept.
    bed.migrate().await.ended_with(3);
    bed.migrate().await.ended_with(3);
    bed.sql("truncate tokenferry.run_failures").await;
    let ran = bed
        .run(&["failures", "--run", "7", "--since", "6"])
        .await
        .ended_with(2);
    assert!(
        ran.stderr.contains("only 0 of the 2 failures of run 6"),
        "{}",
        ran.stderr
    );
}
