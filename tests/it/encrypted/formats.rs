//! Formats of other programs, end to end: the keys come from the configuration, the values from tables like
//! theirs.

use serde_json::{Value, json};

use crate::support::bed::{Bed, Ran};

/// Values that other programs made.
fn vector(id: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../fixtures/encrypted-values.json")).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    vectors.iter().find(|vector| vector["id"] == id).unwrap().clone()
}

fn value(id: &str) -> String {
    let columns = vector(id)["columns"].clone();
    let mut values = columns.as_object().unwrap().values();
    values.next().unwrap().as_str().unwrap().to_owned()
}

/// Tokens by user: access token, refresh token, expiry, scopes.
fn stored(bed: &Bed) -> Value {
    let mut stored: Vec<Value> = bed
        .api
        .stored()
        .iter()
        .map(|token| {
            json!([
                token.destination.user_id,
                token.exposed_access_token(),
                token.exposed_refresh_token(),
                token.access_token_expiry,
                token.destination.scopes,
            ])
        })
        .collect();
    stored.sort_by_key(ToString::to_string);
    stored.into()
}

fn reasons(listed: &Ran) -> Vec<String> {
    let failures: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
    let text = |failure: &Value, name: &str| failure[name].as_str().unwrap().to_owned();
    let mut reasons: Vec<String> = failures
        .iter()
        .map(|failure| format!("{}: {}", text(failure, "source_key"), text(failure, "reason")))
        .collect();
    reasons.sort();
    reasons
}

const ACCESS: &str = "ya29.SYNTHETIC-6OMByxuHdtM_Y9iuFPd0";
const REFRESH: &str = "1//SYNTHETIC-refresh";

#[tokio::test]
async fn one_encrypted_json_supplies_every_field_from_parts_in_three_columns() {
    let document = "column = \"credentials\", decrypt = \"nango\", nonce = \"credentials_iv\", tag = \"credentials_tag\"";
    let bed = Bed::new().await.set(&format!(
        "source.columns.access_token = {{ {document}, json = \"access_token\" }}\n\
         source.columns.refresh_token = {{ {document}, json = \"refresh_token\" }}\n\
         source.columns.access_token_expiry = {{ {document}, json = \"expires_at\" }}\n\
         source.columns.scopes = {{ {document}, json = \"raw.scope\" }}\n\
         source.decrypt.nango = {{ keys = \"env:NANGO_KEY\", plain = \"accept\" }}"
    ));
    bed.sql(
        "alter table legacy_tokens drop access_token, drop refresh_token, add credentials json, \
         add credentials_iv text, add credentials_tag text",
    )
    .await;
    // One whole, one with another key, one from before encryption.
    for (id, of) in [(1, "nango-01"), (2, "nango-07"), (3, "nango-09")] {
        let columns = vector(of)["columns"].clone();
        sqlx::query(
            "insert into legacy_tokens (id, provider, user_id, credentials, credentials_iv, credentials_tag) \
             values ($1, 'google', 'user-' || $1, $2::json, $3, $4)",
        )
        .bind(id)
        .bind(columns["credentials"].as_str())
        .bind(columns["credentials_iv"].as_str())
        .bind(columns["credentials_tag"].as_str())
        .execute(&bed.pool)
        .await
        .unwrap();
    }
    let key = vector("nango-01")["config"]["NANGO_ENCRYPTION_KEY"].clone();
    let mut command = bed.command(&["migrate", "--json", "-vv"]);
    let ran = command
        .env("NANGO_KEY", key.as_str().unwrap())
        .output()
        .await
        .unwrap();
    let ran = Ran::from(ran).ended_with(3);
    let expiry = 1_900_000_000;
    assert_eq!(
        stored(&bed),
        json!([
            ["user-1", ACCESS, REFRESH, expiry, ["a", "b"]],
            ["user-3", ACCESS, REFRESH, expiry, ["a", "b"]],
        ])
    );
    assert_eq!(ran.json()["failures_by_code"], json!({ "not_decryptable": 1 }));
    let told = [ran.stdout, ran.stderr, bed.ledger_dump().await].concat();
    for secret in [ACCESS, REFRESH, key.as_str().unwrap()] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}

#[tokio::test]
async fn keys_that_the_database_holds_are_opened_once_and_named_by_the_values() {
    let bed = Bed::new().await.set(
        "source.columns.access_token = { column = \"data\", decrypt = \"n8n\", json = \"oauthTokenData.access_token\" }\n\
         source.columns.refresh_token = { column = \"data\", decrypt = \"n8n\", json = \"oauthTokenData.refresh_token\" }\n\
         source.columns.scopes = { column = \"data\", decrypt = \"n8n\", json = \"oauthTokenData.scope\" }\n\
         source.decrypt.n8n = { keys = \"env:N8N_KEY\", data_keys = \"select id, value from deployment_key where type = 'data_encryption'\" }",
    );
    bed.sql("alter table legacy_tokens add data text; create table deployment_key (id text, type text, value text)")
        .await;
    let config = vector("n8n-gcm-01")["config"].clone();
    for key in config["deployment_key"].as_array().unwrap() {
        sqlx::query("insert into deployment_key values ($1, $2, $3)")
            .bind(key["id"].as_str())
            .bind(key["type"].as_str())
            .bind(key["value"].as_str())
            .execute(&bed.pool)
            .await
            .unwrap();
    }
    // Under a data key, under the CBC key, under none, under an unknown one, and never connected.
    for (id, of) in [
        (1, "n8n-gcm-01"),
        (2, "n8n-gcm-05"),
        (3, "n8n-gcm-06"),
        (4, "n8n-gcm-08"),
        (5, "n8n-cbc-07"),
    ] {
        sqlx::query("insert into legacy_tokens (id, provider, user_id, data) values ($1, 'google', 'user-' || $1, $2)")
            .bind(id)
            .bind(value(of))
            .execute(&bed.pool)
            .await
            .unwrap();
    }
    let run = async |arguments: &[&str], key: &str| {
        Ran::from(bed.command(arguments).env("N8N_KEY", key).output().await.unwrap())
    };
    run(&["migrate", "--json"], "synthetic-n8n-key")
        .await
        .ended_with(3);
    assert_eq!(
        stored(&bed),
        json!([
            ["user-1", ACCESS, REFRESH, 0, ["a", "b"]],
            ["user-2", ACCESS, REFRESH, 0, ["a", "b"]],
            ["user-3", ACCESS, REFRESH, 0, ["a", "b"]],
        ])
    );
    let listed = run(&["failures", "--format", "json"], "synthetic-n8n-key")
        .await
        .ended_with(0);
    let reasons = reasons(&listed);
    assert!(
        reasons[0].starts_with("4: the value of `scopes` names a key that is not configured"),
        "{reasons:?}"
    );
    assert!(reasons[1].starts_with("5: "), "{reasons:?}");
    // A key that does not open them is told before any row is read.
    let wrong = run(&["migrate", "--json"], "another key").await.ended_with(2);
    assert!(
        wrong
            .stderr
            .contains("one that the database holds cannot be opened"),
        "{}",
        wrong.stderr
    );
}

#[tokio::test]
async fn plain_rows_among_encrypted_ones_go_up_only_if_they_may() {
    let lines = "source.columns.access_token = { column = \"access_token\", decrypt = \"laravel\", plain = \"PLAIN\" }\n\
                 source.columns.refresh_token = { column = \"refresh_token\", decrypt = \"rails\" }\n\
                 source.decrypt.laravel = \"env:APP_KEY\"\n\
                 source.decrypt.rails = { keys = \"env:PRIMARY_KEY\", salts = \"env:SALT\", digest = \"either\" }";
    let (laravel, rails) = (vector("laravel-01"), vector("rails-ar-encryption-01"));
    let run = async |bed: &Bed, arguments: &[&str]| {
        let mut command = bed.command(arguments);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        command
            .env("APP_KEY", text(&laravel["config"]["APP_KEY"]))
            .env("PRIMARY_KEY", text(&rails["config"]["primary_key"]))
            .env("SALT", text(&rails["config"]["key_derivation_salt"]));
        Ran::from(command.output().await.unwrap())
    };
    for (plain, code, committed) in [("refuse", 3, 1), ("accept", 0, 2)] {
        let bed = Bed::new().await.set(&lines.replace("PLAIN", plain));
        for (id, access, refresh) in [
            (1, value("laravel-10"), value("rails-ar-encryption-09")),
            (
                2,
                "ya29.plain-token-of-old".to_owned(),
                value("rails-ar-encryption-02"),
            ),
        ] {
            sqlx::query(
                "insert into legacy_tokens (id, provider, user_id, access_token, refresh_token) \
                 values ($1, 'google', 'user-' || $1, $2, $3)",
            )
            .bind(id)
            .bind(access)
            .bind(refresh)
            .execute(&bed.pool)
            .await
            .unwrap();
        }
        let ran = run(&bed, &["migrate", "--json"]).await.ended_with(code).json();
        assert_eq!(ran["tokens"]["committed"], committed, "{plain}");
        let all = stored(&bed);
        assert_eq!(all[0][1], ACCESS);
        if plain == "accept" {
            assert_eq!(all[1][1], "ya29.plain-token-of-old");
            assert_eq!(
                Some(all[1][2].as_str().unwrap()),
                vector("rails-ar-encryption-02")["plaintext"].as_str()
            );
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_unknown_in_a_format_is_named() {
    for (lines, said) in [
        (
            "source.decrypt.rails = { keys = \"sh0rt\" }",
            "`source.decrypt.rails.salts` must be `key_derivation_salt`",
        ),
        (
            "source.decrypt.rail = { keys = \"sh0rt\" }",
            "`source.decrypt.rail.format` must be the name of a format; did you mean \"rails\"?",
        ),
        (
            "source.decrypt.rails = { keys = \"sh0rt\", salt = \"x\" }",
            "`source.decrypt.rails.salt` is not a known key; did you mean `source.decrypt.rails.salts`?",
        ),
        (
            "source.decrypt.mine = { format = \"steps\", keys = \"sh0rt\", cipher = \"aes-256-gcm\" }",
            "`source.decrypt.mine.keys` must be 32 bytes",
        ),
        (
            "source.decrypt.mine = { format = \"steps\", keys = \"sh0rt\", cipher = \"aes-256-gcm\", layout = \"a+b\" }",
            "`source.decrypt.mine.layout` must name nonce, ciphertext and tag",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"nango\", keys = [\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"] }",
            "`source.columns.access_token.nonce` is missing: the format \"nango\" reads it from a column of its own",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", decrypt = \"kratos-noop\", tag = \"token_type\" }",
            "`source.columns.access_token.tag` is not read by the format \"kratos-noop\"",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", nonce = \"token_type\" }",
            "`source.columns.access_token.nonce` needs `decrypt` next to it",
        ),
    ] {
        let bed = Bed::new().await.set(lines);
        let ran = bed.run(&["migrate", "--log-format", "text"]).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        assert!(!ran.stderr.contains("sh0rt"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_key_that_is_hashed_is_a_whole_text() {
    let bed = Bed::new().await.set(
        "source.columns.access_token = { column = \"access_token\", decrypt = \"mine\" }\n\
         source.decrypt.mine = { format = \"steps\", keys = \"a key, with blanks\", cipher = \"aes-256-cbc\", key_hash = \"sha256\" }",
    );
    // Made by OpenSSL: the IV, and AES-256-CBC under the SHA-256 of the key.
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token) \
         values (1, 'google', 'user-1', '3q2+796tvu/erb7v3q2+71VDMIlbb0hLXZdEqghWvrE=')",
    )
    .await;
    bed.migrate().await.ended_with(0);
    assert_eq!(stored(&bed)[0][1], "ya29.hashed-key");
}

/// A key, wherever it stands in a configuration that is wrong, is not in what anybody is shown.
#[tokio::test]
async fn a_key_is_hidden_whatever_is_wrong_around_it() {
    const KEY: &str = "synthetic-key-that-nobody-may-see";
    for wrong in [
        "source.columns.access_token = { column = \"access_token\", decrypt = \"fernett\", keys = \"env:A_KEY\" }",
        "source.columns.access_token = { column = \"access_token\", keys = \"env:A_KEY\" }",
        "source.columns.user_id = { column = \"user_id\", decrypt = \"fernet\", keys = \"env:A_KEY\" }",
        "source.columns.access_token = { decrypt = \"fernet\", keys = \"env:A_KEY\" }",
        "source.decrypt.fernett = \"env:A_KEY\"",
        "source.decrypt.mine = { format = \"fernett\", keys = \"env:A_KEY\" }",
        "source.decrypt.mine = { format = \"rails\", keys = [\"env:A_KEY\"], salts = [1, \"env:A_KEY\"], digest = \"md5\" }",
        "source.decrypt.mine = { format = \"sentry\", named_keys = \"env:A_KEY\" }",
    ] {
        let bed = Bed::new().await.set(wrong);
        for arguments in [&["config", "show"][..], &["doctor"], &["config", "check"]] {
            let ran = Ran::from(bed.command(arguments).env("A_KEY", KEY).output().await.unwrap());
            assert_ne!(ran.code, 0, "{wrong}: {}", ran.stdout);
            let told = [ran.stdout, ran.stderr].concat();
            assert!(!told.contains(KEY), "{wrong}: {told}");
        }
    }
}
