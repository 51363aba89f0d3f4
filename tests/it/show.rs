//! Everything that is known of one token.

use serde_json::{Value, json};
use tokenferry::simulator::{Barrier, Fault};

use crate::support::bed::{Bed, Ran, TOKEN};

async fn show(bed: &Bed, of: &str) -> Value {
    bed.run(&["show", of, "--json"]).await.ended_with(0).json()
}

/// The one token of an answer.
fn only(shown: &Value) -> &Value {
    assert_eq!(
        (shown["tokens"].as_array().unwrap().len(), &shown["more"]),
        (1, &json!(0)),
        "{shown}"
    );
    &shown["tokens"][0]
}

#[tokio::test]
async fn a_committed_token_by_its_key_and_what_became_of_its_row_since() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    let shown = show(&bed, "7").await;
    let token = only(&shown);
    assert_eq!(
        (
            &token["source_key"],
            &token["source"],
            &shown["migration"],
            &shown["asked"]
        ),
        (
            &json!("7"),
            &json!({"row": "unchanged"}),
            &json!("test"),
            &json!("7")
        )
    );
    let outcome = &token["outcome"];
    assert_eq!(
        (
            &outcome["state"],
            &outcome["app_id"],
            &outcome["user_id"],
            &outcome["attempts"],
            &outcome["error_code"]
        ),
        (
            &json!("committed"),
            &json!("google"),
            &json!("user-7"),
            &json!(1),
            &Value::Null
        )
    );
    let batch = &token["batches"][0];
    assert_eq!(
        (
            &batch["state"],
            &batch["token_count"],
            &batch["http_status"],
            &batch["run_id"]
        ),
        (&json!("committed"), &json!(18), &json!(200), &outcome["run_id"])
    );
    assert_eq!(token["findings"], json!([]));

    for (change, expected) in [
        (
            "update legacy_tokens set scope = 'files' where id = 7",
            json!({"row": "changed"}),
        ),
        ("delete from legacy_tokens where id = 7", json!({"row": "gone"})),
    ] {
        bed.sql(change).await;
        assert_eq!(only(&show(&bed, "7").await)["source"], expected, "{change}");
    }
    bed.sql("update legacy_tokens set access_token = null, refresh_token = null where id = 8")
        .await;
    assert_eq!(only(&show(&bed, "8").await)["source"]["code"], "no_token");
    let ran = bed.run(&["show", "8"]).await.ended_with(0);
    for expected in [
        "Row 8 of \"test\": committed",
        "user user-8",
        "the API responded 200",
        "no_token",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);
}

#[tokio::test]
async fn what_the_api_said_of_a_refused_token_and_the_batches_before() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.api.set_refused_users(["user-5"]);
    bed.migrate().await.ended_with(3);
    let shown = show(&bed, "user-5").await;
    let token = only(&shown);
    assert_eq!(
        (
            &token["outcome"]["state"],
            &token["outcome"]["refused_by"],
            &token["outcome"]["error_code"]
        ),
        (&json!("failed"), &json!("api"), &json!("E112102"))
    );
    assert_eq!(token["batches"].as_array().unwrap().len(), 1);
    // Its neighbours went up in a batch that was made of the refused one.
    let shown = show(&bed, "6").await;
    let states: Vec<&Value> = only(&shown)["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| &batch["state"])
        .collect();
    assert_eq!(states, [&json!("committed"), &json!("failed")]);
    let text = bed.run(&["show", "user-5"]).await.ended_with(0).stdout;
    assert!(
        text.contains("refused by  api: E112102") && text.contains("create it"),
        "{text}"
    );
    assert!(text.contains("unchanged since it was sent"), "{text}");

    bed.api.set_refused_users([""; 0]);
    bed.migrate().await.ended_with(0);
    assert_eq!(only(&show(&bed, "5").await)["outcome"]["attempts"], 2);
}

#[tokio::test]
async fn all_tokens_of_a_user_or_tenant_and_what_runs_noticed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    bed.sql(
        "update legacy_tokens set user_id = 'u', external_id = 'e' || id, tenant_id = 'acme' where id <= 4;
         update legacy_tokens set provider = null where id = 9",
    )
    .await;
    // Before anything was sent, a dry run has noticed something.
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    let shown = show(&bed, "9").await;
    assert_eq!(
        (
            &only(&shown)["outcome"],
            &only(&shown)["findings"][0]["error_code"]
        ),
        (&Value::Null, &json!("no_app"))
    );
    bed.migrate().await.ended_with(3);
    for of in ["u", "acme"] {
        let shown = show(&bed, of).await;
        let keys: Vec<&Value> = shown["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|token| &token["source_key"])
            .collect();
        assert_eq!(keys, [&json!("1"), &json!("2"), &json!("3"), &json!("4")], "{of}");
    }
    bed.api.alter_stored(|tokens| {
        tokens.retain(|token| token.destination.external_identifier.as_deref() != Some("e2"));
    });
    bed.run(&["verify"]).await.ended_with(3);
    let shown = show(&bed, "2").await;
    let finding = &only(&shown)["findings"][0];
    assert_eq!(
        (&finding["mode"], &finding["error_code"], &finding["severity"]),
        (&json!("verify"), &json!("token_missing"), &json!("error"))
    );
    let text = bed.run(&["show", "2"]).await.ended_with(0).stdout;
    assert!(text.contains("token_missing"), "{text}");
}

#[tokio::test]
async fn a_token_in_flight_is_known_and_a_stranger_is_not() {
    let bed = Bed::new().await;
    let ran = bed.run(&["show", "1"]).await.ended_with(2);
    assert!(ran.stderr.contains("no ledger"), "{}", ran.stderr);
    bed.user_rows(1, 5).await;
    let bed = bed.set("api.timeout = \"20s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    gate.reached().await;
    let shown = show(&bed, "user-3").await;
    let token = only(&shown);
    assert_eq!(
        (
            &token["source_key"],
            &token["outcome"],
            &token["batches"][0]["state"],
            &token["source"]
        ),
        (
            &json!("3"),
            &Value::Null,
            &json!("in_flight"),
            &json!({"row": "sendable"})
        )
    );
    gate.release();
    Ran::from(child.wait_with_output().await.unwrap()).ended_with(0);
    let ran = bed.run(&["show", "user-\u{1b}[31m"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("has no record of") && !ran.stderr.contains('\u{1b}'),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_source_that_is_away_keeps_the_ledger_from_nothing() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5).await;
    bed.migrate().await.ended_with(0);
    let mut command = bed.command(&["show", "3", "--json"]);
    let ran = command
        .env(
            "SOURCE_DATABASE_URL",
            "postgres://nobody:hunter2@127.0.0.1:1/none",
        )
        .env("TOKENFERRY__LEDGER__URL", bed.database.url())
        .output()
        .await
        .unwrap();
    let ran = Ran::from(ran).ended_with(0);
    let shown = ran.json();
    assert_eq!(
        (&only(&shown)["outcome"]["state"], &only(&shown)["source"]),
        (&json!("committed"), &Value::Null)
    );
    assert!(
        shown["source_error"]
            .as_str()
            .unwrap()
            .contains("source database"),
        "{shown}"
    );
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"));
}
