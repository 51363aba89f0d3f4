//! Mappings that take values apart without SQL: JSON, forms, prefixes, durations, lists.

use serde_json::{Value, json};

use crate::support::bed::{Bed, TOKEN};

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

async fn failures(bed: &Bed) -> Vec<String> {
    let listed = bed
        .run(&["failures", "--format", "json"])
        .await
        .ended_with(0)
        .json();
    let mut failures: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| {
            let text = |name: &str| failure[name].as_str().unwrap().to_owned();
            format!(
                "{} {}: {}",
                text("source_key"),
                text("error_code"),
                text("reason")
            )
        })
        .collect();
    failures.sort();
    failures
}

const SOCIAL: &str = r#"
    source.columns.access_token = { column = "extra_data", json = "access_token" }
    source.columns.refresh_token = { column = "extra_data", json = "refresh_token" }
    source.columns.access_token_expiry = { column = "extra_data", json = "expires_in", since = { json = "auth_time" } }
    source.columns.access_token_type = { column = "extra_data", json = "token_type" }
    source.columns.scopes = { column = "extra_data", json = "scope" }
"#;

/// One row of each kind that occurs in such tables.
async fn social(bed: &Bed, column_type: &str) {
    bed.sql(&format!("alter table legacy_tokens add extra_data {column_type}"))
        .await;
    let insert = async |id: i64, extra: &str| {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into legacy_tokens (id, provider, user_id, extra_data) values ($1, 'google', 'user-' || $1, $2::{column_type})"
        )))
        .bind(id)
        .bind(extra)
        .execute(&bed.pool)
        .await
        .unwrap();
    };
    insert(
        1,
        &format!(
            r#"{{"access_token": "{TOKEN}-\u0061\/1", "refresh_token": null, "expires_in": 3599, "auth_time": 1800000000,
                 "token_type": "Bearer", "scope": ["a", "b"]}}"#
        ),
    )
    .await;
    insert(
        2,
        &format!(r#"{{"access_token": "{TOKEN}-2", "refresh_token": "{TOKEN}-r2", "expires_in": "60", "auth_time": null, "scope": "a b"}}"#),
    )
    .await;
    insert(
        3,
        r#"{"access_token": {"oauth_token": "x", "oauth_token_secret": "y"}}"#,
    )
    .await;
    insert(4, "{}").await;
    insert(6, r#"{"access_token": false}"#).await;
    if column_type == "text" {
        insert(5, &format!("{{\"access_token\": \"{TOKEN}-5\"")).await;
    }
}

#[tokio::test]
async fn members_of_a_json_are_fields_and_what_is_no_json_fails_its_row_alone() {
    for column_type in ["text", "json", "jsonb"] {
        let bed = Bed::new().await.set(SOCIAL);
        social(&bed, column_type).await;
        let ran = bed.migrate().await.ended_with(3);
        assert_eq!(
            stored(&bed),
            json!([
                ["user-1", format!("{TOKEN}-a/1"), null, 1_800_003_599, ["a", "b"]],
                [
                    "user-2",
                    format!("{TOKEN}-2"),
                    format!("{TOKEN}-r2"),
                    0,
                    ["a", "b"]
                ],
            ])
        );
        let mut expected = vec![
            "3 unreadable_value: `access_token` is an array, an object, true or false in the JSON that holds it, not a text",
            "4 no_token: ",
        ];
        if column_type == "text" {
            // The scopes are part of the destination, so they are named.
            expected.push("5 unreadable_value: the value that holds `scopes` is not valid JSON");
        }
        expected.push("6 unreadable_value: `access_token` is an array, an object, true or false");
        let failures = failures(&bed).await;
        assert_eq!(failures.len(), expected.len(), "{failures:?}");
        for (failure, expected) in failures.iter().zip(expected) {
            assert!(failure.starts_with(expected), "{failure}");
        }
        let told = [ran.stdout, ran.stderr, bed.ledger_dump().await].concat();
        assert!(!told.contains(TOKEN), "{told}");
        // Another member of the same column is another value: no range counts as unchanged.
        let bed = bed.set(&SOCIAL.replace("json = \"refresh_token\"", "json = \"id\""));
        let again = bed.run(&["migrate", "--json"]).await.json();
        assert_eq!(again["tokens"]["committed"], 1, "{again}");
    }
}

#[tokio::test]
async fn a_column_may_hold_json_in_one_row_and_a_form_in_the_next() {
    let bed = Bed::new().await.set(
        r#"
        source.columns.access_token = { column = "token", json = "access_token", form = "access_token" }
        source.columns.refresh_token = { column = "token", json = "refresh_token", form = "refresh_token" }
        source.columns.scopes = { column = "token", json = "scope", form = "scope", separator = "," }
        source.columns.access_token_expiry = { column = "token", json = "accessTokenExpiration", form = "expires" }
        "#,
    );
    bed.sql("alter table legacy_tokens add token text").await;
    bed.sql(&format!(
        r#"insert into legacy_tokens (id, provider, user_id, token) values
           (1, 'google', 'user-1', '{{"access_token": "{TOKEN}-1", "accessTokenExpiration": 1900000000, "scope": "a,b:c"}}'),
           (2, 'github', 'user-2', 'access_token={TOKEN}%2D2&scope=repo%2Cuser%3Aemail&token_type=bearer'),
           (3, 'github', 'user-3', 'gho_no-form-at-all')"#
    ))
    .await;
    bed.migrate().await.ended_with(3);
    assert_eq!(
        stored(&bed),
        json!([
            ["user-1", format!("{TOKEN}-1"), null, 1_900_000_000, ["a", "b:c"]],
            ["user-2", format!("{TOKEN}-2"), null, 0, ["repo", "user:email"]],
        ])
    );
    let failures = failures(&bed).await;
    assert!(failures[0].contains("is not form-encoded text"), "{failures:?}");
}

#[tokio::test]
async fn prefixes_go_and_durations_count_from_a_column() {
    let bed = Bed::new().await.set(
        r#"
        source.columns.access_token = { column = "access_token", strip_prefix = "Bearer " }
        source.columns.user_id = { column = "user_id", strip_prefix = "auth|it's|" }
        source.columns.tenant_id = { column = "profile", json = ["org", "id"] }
        source.columns.access_token_expiry = { column = "lifetime", since = "issued" }
        "#,
    );
    bed.sql("alter table legacy_tokens add lifetime int, add issued timestamp, add profile jsonb")
        .await;
    bed.sql(&format!(
        r#"insert into legacy_tokens (id, provider, user_id, access_token, lifetime, issued, profile) values
           (1, 'google', 'auth|it''s|user-1', 'Bearer {TOKEN}-1', 3600, '2030-01-01', '{{"org": {{"id": "t1"}}}}'),
           (2, 'google', 'user-2', '{TOKEN}-2', null, '2030-01-01', 'null'),
           (3, 'google', 'user-3', '{TOKEN}-3', 3600, null, '[]')"#
    ))
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 3);
    assert_eq!(
        stored(&bed),
        json!([
            ["user-1", format!("{TOKEN}-1"), null, 1_893_459_600, []],
            ["user-2", format!("{TOKEN}-2"), null, 0, []],
            ["user-3", format!("{TOKEN}-3"), null, 0, []],
        ])
    );
    let tenants: Vec<_> = bed
        .api
        .stored()
        .iter()
        .filter_map(|token| token.destination.tenant_id.clone())
        .collect();
    assert_eq!(tenants, ["t1"]);
}

#[tokio::test]
async fn helpers_where_they_cannot_help_are_named() {
    for (lines, said) in [
        (
            "source.columns.user_id = { column = \"user_id\", json = \"id\" }",
            "`source.columns.user_id` must be json or jsonb",
        ),
        (
            "source.columns.user_id = { column = \"user_id\", form = \"id\" }",
            "`source.columns.user_id.form` is not available for what the database compares",
        ),
        (
            "source.columns.updated_at = { column = \"updated_at\", json = \"at\" }",
            "`source.columns.updated_at.json` is not available",
        ),
        (
            "source.columns.access_token = { column = \"expires_at\", json = \"at\" }",
            "`source.columns.access_token` must be text, json or jsonb",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", json = \"\" }",
            "`source.columns.access_token.json` must be the name of a member",
        ),
        (
            "source.columns.access_token = { column = \"access_token\", since = \"updated_at\" }",
            "`source.columns.access_token.since` is only available for `access_token_expiry`",
        ),
        (
            "source.columns.access_token_expiry = { column = \"expires_at\", since = \"updated_at\" }",
            "`source.columns.access_token_expiry` must be a number of seconds",
        ),
        (
            "source.columns.access_token_expiry = { column = \"id\", since = \"updated\" }",
            "`source.columns.access_token_expiry.since` names the column \"updated\", which does not exist: did you mean \"updated_at\"?",
        ),
        (
            "source.columns.scopes = { column = \"scope\", separator = \", \" }",
            "`source.columns.scopes.separator` must be one character",
        ),
        (
            "source.columns.scopes = { column = \"scope\", strip_prefix = \"x\" }",
            "`source.columns.scopes.strip_prefix` must be the beginning of a text",
        ),
    ] {
        let bed = Bed::new().await.set(lines);
        let ran = bed.run(&["migrate", "--log-format", "text"]).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}
