//! Columns that the source holds encrypted: opened on the way, by this program or by the database.

mod by_the_database;
mod formats;
mod seal;

use serde_json::json;
use sqlx::Executor;

use crate::support::bed::{Bed, Ran, TOKEN};
use seal::{fernet, gcm};

const NEW: &str = "9CjbDK-yXQSKsxMnDjvvqvSpylW0f1boWZ-pFenilK0=";
const OLD: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const STRANGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const GCM: &str = "c4f1f1c9f1a9d1c2b3a495867768594a3b2c1d0e0f1e2d3c4b5a69788796a5b4";

/// `access_token` holds Fernet tokens as text, `sealed_refresh` AES-256-GCM as bytes.
const COLUMNS: &str = r#"
source.columns.access_token = { column = "access_token", decrypt = "fernet", keys = ["env:FERNET_NEW", "env:FERNET_OLD"] }
source.columns.refresh_token = { column = "sealed_refresh", decrypt = "aes-256-gcm" }
source.decrypt.aes_256_gcm = "env:GCM_KEYS"
"#;

async fn run(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut command = bed.command(arguments);
    command
        .env("FERNET_NEW", NEW)
        .env("FERNET_OLD", OLD)
        .env("GCM_KEYS", format!("{}\n{GCM}\n", "0".repeat(64)));
    command.output().await.unwrap().into()
}

/// Users `1..=count`, each with both tokens, encrypted; every third with the old key.
async fn rows(bed: &Bed, count: i64) {
    bed.sql("alter table legacy_tokens add sealed_refresh bytea")
        .await;
    for id in 1..=count {
        let key = if id % 3 == 0 { OLD } else { NEW };
        insert(
            bed,
            id,
            Some(fernet(key, &format!("{TOKEN}-access-{id}"))),
            Some(gcm(GCM, &format!("{TOKEN}-refresh-{id}"))),
        )
        .await;
    }
}

async fn insert(bed: &Bed, id: i64, access: Option<String>, refresh: Option<Vec<u8>>) {
    let row = sqlx::query(
        "insert into legacy_tokens (id, provider, user_id, access_token, sealed_refresh) values ($1, 'google', 'user-' || $1, $2, $3)",
    )
    .bind(id)
    .bind(access)
    .bind(refresh);
    bed.pool.execute(row).await.unwrap();
}

fn stored(bed: &Bed) -> Vec<(String, Option<String>, Option<String>)> {
    let mut stored: Vec<_> = bed
        .api
        .stored()
        .iter()
        .map(|token| {
            (
                token.destination.user_id.clone().unwrap(),
                token.exposed_access_token().map(str::to_owned),
                token.exposed_refresh_token().map(str::to_owned),
            )
        })
        .collect();
    stored.sort();
    stored
}

#[tokio::test]
async fn what_arrives_is_the_plaintext_and_it_is_nowhere_else() {
    let bed = Bed::new().await.set(COLUMNS);
    rows(&bed, 40).await;
    // None, of either kind: null, empty, and an encrypted nothing.
    insert(&bed, 41, None, Some(gcm(GCM, &format!("{TOKEN}-refresh-41")))).await;
    insert(
        &bed,
        42,
        Some(fernet(NEW, "")),
        Some(gcm(GCM, &format!("{TOKEN}-refresh-42"))),
    )
    .await;
    insert(&bed, 43, Some(fernet(NEW, &format!("{TOKEN}-access-43"))), None).await;

    let ran = run(&bed, &["migrate", "--json", "-vv"]).await.ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 43);
    let expected =
        |kind: &str, id: i64, absent: &[i64]| (!absent.contains(&id)).then(|| format!("{TOKEN}-{kind}-{id}"));
    let mut all: Vec<_> = (1..=43)
        .map(|id| {
            (
                format!("user-{id}"),
                expected("access", id, &[41, 42]),
                expected("refresh", id, &[43]),
            )
        })
        .collect();
    all.sort();
    assert_eq!(stored(&bed), all);

    let doctor = run(&bed, &["doctor", "--json"]).await.ended_with(0);
    assert!(
        doctor
            .stdout
            .contains("every value of 43 sampled rows could be decrypted"),
        "{}",
        doctor.stdout
    );
    let told = [
        ran.stdout,
        ran.stderr,
        doctor.stdout,
        doctor.stderr,
        bed.ledger_dump().await,
    ]
    .concat();
    for secret in [TOKEN, NEW, OLD, GCM] {
        assert!(!told.contains(secret), "{secret} was told");
    }
    // Encrypted anew with another key, a token is still the same token.
    bed.sql("delete from legacy_tokens where id = 3").await;
    insert(
        &bed,
        3,
        Some(fernet(NEW, &format!("{TOKEN}-access-3"))),
        Some(gcm(GCM, &format!("{TOKEN}-refresh-3"))),
    )
    .await;
    let again = run(&bed, &["migrate", "--json"]).await.ended_with(0).json();
    assert_eq!(again["tokens"]["unchanged"], 43);
}

#[tokio::test]
async fn what_cannot_be_decrypted_fails_with_that_reason_and_the_rest_goes_up() {
    let bed = Bed::new().await.set(COLUMNS);
    rows(&bed, 20).await;
    let token = |id: i64| format!("{TOKEN}-access-{id}");
    insert(&bed, 21, Some(fernet(STRANGE, &token(21))), None).await;
    insert(&bed, 22, Some(token(22)), None).await;
    let mut tampered = gcm(GCM, &token(23));
    tampered[20] ^= 1;
    insert(&bed, 23, Some(fernet(NEW, &token(23))), Some(tampered)).await;
    let mut binary = gcm(GCM, &token(24));
    binary.truncate(20);
    insert(&bed, 24, Some(fernet(NEW, &token(24))), Some(binary)).await;

    let ran = run(&bed, &["migrate", "--json", "-vv"]).await.ended_with(3);
    let report = ran.json();
    assert_eq!(report["tokens"]["committed"], 20);
    assert_eq!(report["failures_by_code"], json!({ "not_decryptable": 4 }));
    assert_eq!(bed.api.stored_count(), 20);
    let failures = run(&bed, &["failures", "--format", "json"]).await.ended_with(0);
    let mut failures: Vec<serde_json::Value> = serde_json::from_str(&failures.stdout).unwrap();
    failures.sort_by_key(|failure| failure["source_key"].to_string());
    let reasons: Vec<&str> = failures
        .iter()
        .map(|failure| failure["reason"].as_str().unwrap())
        .collect();
    for (reason, said) in reasons.iter().zip([
        "no key decrypts the value of `access_token`",
        "the value of `access_token` does not have the format of the configured encryption",
        "no key decrypts the value of `refresh_token`",
        "the value of `refresh_token` does not have the format of the configured encryption",
    ]) {
        assert!(reason.starts_with(said), "{reason}");
    }
    let told = [ran.stdout, ran.stderr, bed.ledger_dump().await].concat();
    assert!(!told.contains(TOKEN), "{told}");

    // With the key it was encrypted with, a row goes up.
    let bed = bed.set(&COLUMNS.replace("\"env:FERNET_OLD\"", &format!("\"{OLD}\", \"{STRANGE}\"")));
    let again = run(&bed, &["migrate", "--json", "--only-failed"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(again["tokens"]["committed"], 1);
    assert!(stored(&bed).contains(&("user-21".into(), Some(token(21)), None)));
}

#[tokio::test]
async fn keys_that_open_nothing_are_told_before_the_first_run() {
    let bed = Bed::new().await.set(
        &COLUMNS
            .replace("env:FERNET_", "env:OTHER_")
            .replace("\"env:OTHER_NEW\", \"env:OTHER_OLD\"", &format!("\"{STRANGE}\"")),
    );
    rows(&bed, 20).await;
    let doctor = run(&bed, &["doctor"]).await.ended_with(2);
    let said = "20 of 20 sampled rows have a value that cannot be decrypted";
    assert!(doctor.stdout.contains(said), "{}", doctor.stdout);
}

#[tokio::test]
async fn parts_in_columns_of_their_own_are_joined_and_keys_may_lie_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{}\n{GCM}\n", "1".repeat(64))).unwrap();
    let bed = Bed::new().await.set(&format!(
        "source.columns.access_token = {{ sql = \"nonce || body || tag\", decrypt = \"aes-256-gcm\" }}\n\
         source.decrypt.aes_256_gcm = \"file:{}\"",
        keys.display()
    ));
    bed.sql("alter table legacy_tokens add nonce bytea, add body bytea, add tag bytea")
        .await;
    let sealed = gcm(GCM, &format!("{TOKEN}-access-1"));
    let row = sqlx::query("insert into legacy_tokens (id, provider, user_id, nonce, body, tag) values (1, 'google', 'user-1', $1, $2, $3)")
        .bind(&sealed[..12])
        .bind(&sealed[12..sealed.len() - 16])
        .bind(&sealed[sealed.len() - 16..]);
    bed.pool.execute(row).await.unwrap();
    run(&bed, &["migrate", "--json"]).await.ended_with(0);
    assert_eq!(
        stored(&bed),
        [("user-1".into(), Some(format!("{TOKEN}-access-1")), None)]
    );
}

#[tokio::test]
async fn two_rows_of_one_destination_are_told_apart_before_they_are_opened() {
    let bed = Bed::new().await.set(COLUMNS);
    rows(&bed, 20).await;
    bed.sql("insert into legacy_tokens (id, provider, user_id, access_token, updated_at) \
             select id + 100, provider, user_id, 'no longer readable', now() - interval '1 day' from legacy_tokens")
        .await;
    let ran = run(&bed, &["migrate", "--json"]).await.ended_with(0).json();
    assert_eq!(ran["tokens"]["superseded"], 20);
    assert_eq!(stored(&bed).len(), 20);
}

#[tokio::test]
async fn keys_that_are_none_are_named_and_never_shown() {
    for (lines, said) in [
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"fernet\", keys = [\"env:FERNET_NEW\", \"sh0rt\"] }",
            "`source.columns.access_token.keys` must be a Fernet key: 32 bytes in URL-safe base64 (44 characters) (key 2 of 2)",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"aes-256-gcm\" }\nsource.decrypt.aes_256_gcm = \"sh0rt\"",
            "`source.decrypt.aes_256_gcm` must be a key for AES-256",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"fernet\" }",
            "`source.columns.access_token.decrypt` needs keys: `keys` next to it, or `source.decrypt.fernet`",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"rot13\" }",
            "`source.columns.access_token.decrypt` must be the name of a format; the formats are fernet, aes-256-gcm",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", keys = [\"env:FERNET_NEW\"] }",
            "`source.columns.access_token.keys` needs `decrypt` next to it",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", sql = \"x\" }",
            "`source.columns.access_token.sql` cannot be combined with `column`",
        ),
        (
            "source.columns.access_token = { decrypt = \"fernet\", keys = [\"env:FERNET_NEW\"] }",
            "`source.columns.access_token` must contain `column`",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"fernet\", keys = [\"env:NOT_SET_HERE\"] }",
            "`source.columns.access_token.keys` points to the environment variable NOT_SET_HERE",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"fernet\", keys = [] }",
            "`source.columns.access_token.keys` must be a list of keys",
        ),
        (
            "source.columns.user_id = { column = \"user_id\", decrypt = \"fernet\", keys = [\"env:FERNET_NEW\"] }",
            "`source.columns.user_id.decrypt` is not available for what the database compares",
        ),
        (
            "source.columns.access_token = { colunm = \"access_token\", sql = \"access_token\" }",
            "did you mean `source.columns.access_token.column`?",
        ),
        (
            "source.session = { key = \"sh0rt\" }",
            "`source.session.key` must be a name of your own with a dot in it",
        ),
        (
            "source.columns.access_token = { column = \"expires_at\", decrypt = \"fernet\", keys = [\"env:FERNET_NEW\"] }",
            "`source.columns.access_token` must be text, json, jsonb or bytea",
        ),
    ] {
        let bed = Bed::new().await.set(lines);
        let ran = run(&bed, &["migrate", "--log-format", "text"])
            .await
            .ended_with(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains("sh0rt") && !ran.stderr.contains(NEW),
            "{}",
            ran.stderr
        );
    }
}
