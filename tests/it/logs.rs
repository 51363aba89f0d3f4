//! The log that machines read: one object a line, names that stay, and a batch that can be followed.

use std::time::Duration;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use tokenferry::simulator::Fault;

use crate::support::bed::{Bed, TOKEN};

/// One line, with its fields as they were written. Fails if one of them is there twice.
fn object(line: &str) -> Value {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = serde_json::Map<String, Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = serde_json::Map::new();
            while let Some((name, value)) = map.next_entry::<String, Value>()? {
                assert!(
                    fields.insert(name.clone(), value).is_none(),
                    "{name} is there twice"
                );
            }
            Ok(fields)
        }
    }
    let fields = serde_json::Deserializer::from_str(line).deserialize_map(Fields);
    fields.unwrap_or_else(|error| panic!("{error}: {line}")).into()
}

/// Every line of a log. Each says when, how grave and what.
fn objects(log: &str) -> Vec<Value> {
    let objects: Vec<Value> = log.lines().map(object).collect();
    for object in &objects {
        let at = object["timestamp"].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(at).unwrap();
        assert!(at.ends_with('Z'), "{at}");
        assert!(
            object["level"].is_string() && object["message"].is_string(),
            "{object}"
        );
    }
    assert!(!log.contains(TOKEN));
    objects
}

fn messages(objects: &[Value]) -> Vec<&str> {
    objects
        .iter()
        .map(|object| object["message"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_normal_night_is_a_dozen_lines() {
    let bed = Bed::new().await;
    bed.rows(1, 4000).await;
    let ran = bed.run(&["migrate"]).await.ended_with(0);
    assert_eq!(ran.stdout, "");
    let log = objects(&ran.stderr);
    assert!(log.len() <= 12, "{log:#?}");
    assert_eq!(messages(&log).first(), Some(&"started"));
    let ended = log.last().unwrap();
    assert_eq!(ended["message"], "ended");
    for (field, value) in [
        ("mode", json!("migrate")),
        ("run_status", json!("completed")),
        ("exit_code", json!(0)),
        ("selected", json!(4000)),
        ("committed", json!(4000)),
        ("failed", json!(0)),
    ] {
        assert_eq!(ended[field], value, "{field}");
    }
    let run_id = &ended["run_id"];
    assert!(run_id.is_number());
    for line in &log {
        assert_eq!(
            (&line["run_id"], &line["level"]),
            (run_id, &json!("INFO")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_refused_batch_can_be_followed_by_its_id() {
    let bed = Bed::new().await;
    bed.user_rows(1, 250).await;
    bed.api.set_refused_users(["user-7"]);
    let ran = bed.run(&["migrate", "-v"]).await.ended_with(3);
    let log = objects(&ran.stderr);
    let refused = log.iter().find(|line| line["message"] == "refused").unwrap();
    let id = &refused["batch_id"];
    let story: Vec<Value> = log
        .iter()
        .filter(|line| line["batch_id"] == *id)
        .cloned()
        .collect();
    assert_eq!(messages(&story), ["sending", "answered", "refused"]);
    for line in &story {
        assert_eq!(line["tokens"], 100, "{line}");
        assert_eq!(line["run_id"], log[0]["run_id"], "{line}");
    }
    assert_eq!(
        (&story[0]["attempt"], &story[1]["attempt"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&story[1]["status"], &story[1]["code"]),
        (&json!(200), &json!("E112102"))
    );
    assert_eq!(
        (&story[2]["failed"], &story[2]["tokens_again"]),
        (&json!(1), &json!(99))
    );
    // The rest of it, in a batch of its own that says where it is from.
    let rest = log.iter().find(|line| line["parent_id"] == *id).unwrap();
    assert_eq!(rest["tokens"], 99);
    // Each batch's story is there, and in the ledger.
    for batch in bed.texts("select id::text from tokenferry.batches").await {
        let batch: i64 = batch.parse().unwrap();
        let story: Vec<Value> = log
            .iter()
            .filter(|line| line["batch_id"] == batch)
            .cloned()
            .collect();
        assert!(story.len() == 3, "{story:#?}");
    }
    for line in &log {
        let is_about_one =
            ["sending", "answered", "refused", "committed"].contains(&line["message"].as_str().unwrap());
        assert_eq!(line["batch_id"].is_number(), is_about_one, "{line}");
    }
    let warned: Vec<&Value> = log.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!((warned.len(), &warned[0]["code"]), (1, &json!("E112102")));
}

#[tokio::test]
async fn retries_and_lost_answers_are_told_at_info_or_above() {
    let bed = Bed::new().await;
    bed.user_rows(1, 100).await;
    bed.api.script([
        Fault::Status(503),
        Fault::RateLimited(Duration::ZERO),
        Fault::CutAfterCommit,
    ]);
    let ran = bed.run(&["migrate"]).await.ended_with(0);
    let log = objects(&ran.stderr);
    let id = bed.number("select id from tokenferry.batches").await;
    let story: Vec<&Value> = log.iter().filter(|line| line["batch_id"] == id).collect();
    let told: Vec<Value> = story
        .iter()
        .map(|line| json!([line["level"], line["attempt"], line["status"], line["code"]]))
        .collect();
    assert_eq!(
        told,
        [
            // A gateway's 503 does not say whether the request got through.
            json!(["WARN", 1, 503, "http_503"]),
            json!(["INFO", 1, null, null]),
            json!(["INFO", 1, 503, "http_503"]),
            json!(["INFO", null, 429, "rate_limited"]),
            json!(["WARN", 3, null, "connection_lost"]),
            json!(["INFO", 3, null, null]),
        ],
        "{story:#?}"
    );
    assert_eq!(story[5]["outcome"], "Stored");
}

#[tokio::test]
async fn an_error_is_an_object_too_and_quiet_means_nothing_else() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let mut command = bed.command(&["migrate"]);
    command.env("TOKENFERRY__BATCH__MAX_TOKEN", "5");
    let output = command.output().await.unwrap();
    let log = objects(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(log.len(), 1);
    assert_eq!(
        (&log[0]["level"], &log[0]["exit_code"]),
        (&json!("ERROR"), &json!(2))
    );
    assert!(
        log[0]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `batch.max_tokens`?")
    );

    assert_eq!(bed.run(&["migrate", "-q"]).await.ended_with(0).stderr, "");
}

#[tokio::test]
async fn a_run_that_stops_says_why_and_a_verification_logs_like_a_run() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let mut command = bed.command(&["migrate"]);
    command.env("DESCOPE_MANAGEMENT_KEY", "Kwrong");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(4));
    let log = objects(&String::from_utf8(output.stderr).unwrap());
    let early = log.iter().find(|line| line["message"] == "stopped").unwrap();
    assert!(
        early["reason"]
            .as_str()
            .unwrap()
            .starts_with("the API refused the credentials"),
        "{early}"
    );
    assert_eq!(log.last().unwrap()["run_status"], "stopped");

    bed.migrate().await.ended_with(0);
    let log = objects(&bed.run(&["verify"]).await.ended_with(0).stderr);
    assert_eq!(messages(&log).last(), Some(&"ended"));
    assert_eq!(log.last().unwrap()["mode"], "verify");
}

#[tokio::test]
async fn whatever_is_asked_of_the_log_no_notice_of_the_database_is_in_it() {
    let bed = Bed::new()
        .await
        .set("source.columns.granted_by = { sql = \"aloud(access_token)\" }");
    bed.user_rows(1, 3).await;
    bed.sql(
        "create function aloud(token text) returns text language plpgsql stable as \
         $$ begin raise notice 'saw %', token; raise warning 'saw %', token; return null; end $$",
    )
    .await;
    for filter in ["info", "trace", "sqlx::postgres::notice=trace,tokenferry=debug"] {
        let mut command = bed.command(&["migrate", "--dry-run"]);
        command.env("RUST_LOG", filter);
        let ran = crate::support::bed::ended(command.output()).await.ended_with(0);
        assert!(
            !ran.stderr.contains(crate::support::bed::TOKEN),
            "{filter}: {}",
            ran.stderr
        );
        assert!(messages(&objects(&ran.stderr)).contains(&"ended"), "{filter}");
    }
}

#[tokio::test]
async fn a_dry_run_logs_its_estimate() {
    let bed = Bed::new().await;
    bed.user_rows(1, 250).await;
    let ran = bed.run(&["migrate", "--dry-run"]).await.ended_with(0);
    let log = objects(&ran.stderr);
    let ended = log.last().unwrap();
    assert_eq!(
        (&ended["estimated_batches"], &ended["estimated_requests"]),
        (&json!(3), &json!(3))
    );
    assert!(ended["estimated_duration_s"].is_number(), "{ended}");
    let ran = bed.run(&["migrate"]).await.ended_with(0);
    let log = objects(&ran.stderr);
    assert!(log.last().unwrap().get("estimated_batches").is_none());
}
