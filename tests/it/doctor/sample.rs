//! What a few hundred rows say of the mapping and of the columns of tokens.

use super::{Checks, doctor};
use crate::support::bed::Bed;

async fn checks(bed: &Bed, variables: &[(&str, &str)], code: i32) -> Checks {
    Checks::of(&doctor(bed, variables).await.ended_with(code))
}

#[tokio::test]
async fn a_mapping_by_which_most_rows_would_fail_is_a_failed_check() {
    let bed = Bed::new().await;
    bed.rows(1, 1000).await;
    let fine = checks(&bed, &[], 0).await;
    fine.assert(
        "source",
        "mapping",
        "ok",
        "all 300 sampled rows would be uploaded",
    );
    fine.assert("source", "tokens", "ok", "look normal");

    bed.sql(
        "update legacy_tokens set granted_by = 'user-' || id || '@example.com', token_type = '{\"a\": 1}'",
    )
    .await;
    for (variable, value, said) in [
        (
            "ACCESS_TOKEN_EXPIRY",
            "granted_by",
            "`source.columns.access_token_expiry` (the column \\\"granted_by\\\"): 300 of 300 sampled rows would \
             fail as expiry_unreadable",
        ),
        (
            "REFRESH_TOKEN",
            "token_type",
            "`source.columns.refresh_token` (the column \\\"token_type\\\"): 300 of 300",
        ),
        (
            "SCOPES",
            "token_type",
            "`source.columns.scopes` (the column \\\"token_type\\\")",
        ),
    ] {
        let variable = format!("TOKENFERRY__SOURCE__COLUMNS__{variable}");
        let found = checks(&bed, &[(&variable, value)], 2).await;
        found.assert("source", "mapping", "failed", said);
    }

    // Wherever they stand.
    bed.sql("update legacy_tokens set provider = null where id % 100 > 97")
        .await;
    let some = checks(&bed, &[], 0).await;
    some.assert(
        "source",
        "mapping",
        "warning",
        "sampled rows would fail: no_app (",
    );
}

#[tokio::test]
async fn durations_in_place_of_expiries_are_a_failed_check_and_an_expression_helps() {
    let bed = Bed::new().await;
    bed.rows(1, 100).await;
    bed.sql("alter table legacy_tokens add expires_in int not null default 3599")
        .await;
    let variable = "TOKENFERRY__SOURCE__COLUMNS__ACCESS_TOKEN_EXPIRY";
    let found = checks(&bed, &[(variable, "expires_in")], 2).await;
    found.assert(
        "source",
        "mapping",
        "failed",
        "(the column \\\"expires_in\\\"): 100 of 100 sampled expiries are before 2005",
    );
    found.assert(
        "source",
        "mapping",
        "failed",
        "created_at + expires_in * interval '1 second'",
    );
    let dry = bed
        .command(&["migrate", "--dry-run", "--json"])
        .env(variable, "expires_in")
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(dry.stderr).unwrap();
    assert!(
        log.contains("most expiries are before 2005, like durations"),
        "{log}"
    );

    // Of a single row nobody could tell; of a page, before anything of it is sent.
    let mut real = bed.command(&["migrate", "--json"]);
    let ran = real.env(variable, "expires_in").output().await.unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(
        log.contains("`source.columns.access_token_expiry` seems to be a duration"),
        "{log}"
    );
    assert_eq!(bed.api.stored_count(), 0);

    let bed = bed.set(
        "source.columns.access_token_expiry = { sql = \"updated_at + expires_in * interval '1 second'\" }",
    );
    checks(&bed, &[], 0)
        .await
        .assert("source", "mapping", "ok", "would be uploaded");
    let report = bed.migrate().await.ended_with(0).json();
    assert_eq!(report["warnings_by_code"], serde_json::json!({}));
}

#[tokio::test]
async fn columns_that_do_not_look_like_tokens_are_warned_of_with_counts() {
    let bed = Bed::new().await;
    for (tokens, said) in [
        (
            "encode(sha256(id::text::bytea), 'hex')",
            "all 100 values are hex digits",
        ),
        (
            "encode(sha256(id::text::bytea), 'base64')",
            "all 100 values are plain base64",
        ),
        (
            "'wo' || to_char(id, 'FM000')",
            "none of the 100 values is longer than 5 characters",
        ),
        (
            "'ya29.everybody-has-this-one'",
            "100 of 100 rows share their value with others (1 distinct values",
        ),
    ] {
        bed.sql("truncate legacy_tokens").await;
        bed.user_rows(1, 100).await;
        bed.sql(&format!("update legacy_tokens set access_token = {tokens}"))
            .await;
        let found = checks(&bed, &[], 0).await;
        found.assert(
            "source",
            "tokens",
            "warning",
            &format!("`access_token` of \\\"google\\\": {said}"),
        );
        let dry = bed.run(&["migrate", "--dry-run", "--json"]).await;
        let log = dry.stderr;
        assert!(log.contains("Compare one of them with"), "{log}");
    }
}
