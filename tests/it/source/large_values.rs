//! Values that are larger than any token: each fails its own row, is never held in memory, and every other
//! row goes up.

use std::{fs, time::Duration};

use serde_json::json;
use tokenferry::{
    domain::{Unreadable, UnreadableCause},
    simulator::{Barrier, Fault},
};
use tokio::time::timeout;

use crate::support::{
    bed::{Bed, ended},
    database::TestDatabase,
    settings::settings,
    source::read,
};

/// The largest value that is read.
const LARGEST: usize = 1 << 20;

#[tokio::test]
async fn a_value_beyond_the_limit_fails_its_row_whatever_it_is_had_by() {
    let database = TestDatabase::create().await;
    database
        .execute(&format!(
            "create table tokens (id int primary key, token text, answer jsonb, sealed bytea, list text[], name varchar); \
             insert into tokens select n, 'at', '{{\"t\": \"at\"}}', 'at', '{{a}}', 'u' from generate_series(1, 3) n; \
             update tokens set token = repeat('x', {LARGEST}), name = repeat('ü', {LARGEST} / 2) where id = 1; \
             update tokens set token = repeat('x', {LARGEST} + 1), answer = jsonb_build_object('t', repeat('ü', {LARGEST} / 2 + 1)),
                    sealed = convert_to(repeat('x', {LARGEST}), 'UTF8'), list = array[repeat('s', {LARGEST})],
                    name = repeat('ü', {LARGEST} / 2 + 1) where id = 2"
        ))
        .await;
    for (field, mapped, decides_place) in [
        ("access_token", "\"token\"", false),
        ("access_token", "{ sql = \"answer->>'t'\" }", false),
        ("id_token", "{ column = \"sealed\", decrypt = \"fernet\" }", false),
        ("scopes", "\"list\"", true),
        ("user_id", "\"name\"", true),
        ("access_token_expiry", "\"token\"", false),
    ] {
        for relation in ["table = \"tokens\"", "query = \"select * from tokens\""] {
            let key = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
            let source = format!(
                "{relation}\nkey = \"id\"\n[source.columns]\napp = {{ sql = \"'google'\" }}\n{field} = {mapped}\n{}{}\
                 [source.decrypt]\nfernet = \"{key}\"",
                if field == "user_id" {
                    ""
                } else {
                    "user_id = { sql = \"'u'\" }\n"
                },
                if field == "access_token" {
                    ""
                } else {
                    "access_token = { sql = \"'at'\" }\n"
                },
            );
            let tokens = read(&settings(database.url(), &source).source).await.unwrap();
            let noted: Vec<_> = tokens.iter().map(|token| token.unreadable).collect();
            let too_large = Unreadable {
                field,
                decides_place,
                cause: UnreadableCause::TooLarge,
            };
            assert_eq!(
                noted,
                [None, Some(too_large), None],
                "{field} = {mapped}, {relation}"
            );
        }
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_row_of_sixty_megabytes_fails_with_a_code_and_takes_no_memory() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    // One by its column, one by an expression, and one in the midst of a page.
    let bed = bed.set("source.columns.refresh_token = { sql = \"refresh_token || ''\" }");
    for (id, column) in [(1, "access_token"), (2, "refresh_token"), (150, "access_token")] {
        bed.sql(&format!(
            "update legacy_tokens set {column} = repeat('x', 60000000) where id = {id}"
        ))
        .await;
    }
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = bed.spawn_migrate();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", run.id().unwrap())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100 * 1024, "{peak}");
    gate.release();
    let summary = ended(run.wait_with_output()).await.ended_with(3).json();
    assert_eq!(summary["tokens"]["committed"], json!(297));
    assert_eq!(bed.api.stored_count(), 297);
    let failed = bed
        .texts(
            "select source_key || ' ' || error_code || ' ' || split_part(reason, ':', 1) from tokenferry.tokens where state = 'failed' \
             order by source_key::int",
        )
        .await;
    assert_eq!(
        failed,
        [
            "1 value_too_large the value of `access_token` is larger than 1 MiB",
            "2 value_too_large the value of `refresh_token` is larger than 1 MiB",
            "150 value_too_large the value of `access_token` is larger than 1 MiB",
        ]
    );
    let listed = bed.run(&["failures"]).await.stdout;
    assert!(listed.contains("value_too_large"), "{listed}");
}
