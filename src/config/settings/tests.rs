//! Settings that a configuration yields, and the messages for a wrong one.

use std::{collections::HashMap, path::Path};

use super::*;
use crate::config::load::merge;

const MINIMAL: &str = r#"
    migration = "m"
    [source]
    url = "postgres://u:p@localhost/db"
    table = "tokens"
    key = "id"
    [source.columns]
    app = "provider"
    user_id = "user_id"
    access_token = "access_token"
    [api]
    project_id = "P123"
    management_key = "K123"
"#;

fn settings(text: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let environment: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    merge(Path::new("t.toml"), text, Some(environment))?.settings()
}

#[test]
fn the_least_configuration_gets_every_default() {
    let settings = settings(MINIMAL, &[]).unwrap();
    assert_eq!(settings.batch.max_tokens, 100);
    assert_eq!(settings.batch.max_bytes, 1 << 20);
    assert_eq!(settings.api.base_url.as_str(), "https://api.descope.com/");
    assert_eq!(
        settings.api.rate_limit,
        RateLimit {
            requests: 100,
            per: Duration::from_secs(60),
            burst: 1
        }
    );
    assert_eq!(settings.ledger.schema, "tokenferry");
    assert_eq!(settings.ledger.url.place(), settings.source.url.place());
    assert_eq!(settings.apps.resolve("anything"), Some("anything"));
}

#[test]
fn a_switch_is_true_or_false_in_the_file_and_in_the_environment() {
    assert!(!settings(MINIMAL, &[]).unwrap().batch.verify_refresh);
    let on = format!("{MINIMAL}\n[batch]\nverify_refresh = true");
    assert!(settings(&on, &[]).unwrap().batch.verify_refresh);
    let variable = |value| [("TOKENFERRY__BATCH__VERIFY_REFRESH", value)];
    assert!(!settings(&on, &variable("false")).unwrap().batch.verify_refresh);
    assert!(settings(MINIMAL, &variable("true")).unwrap().batch.verify_refresh);
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = settings(
        MINIMAL,
        &[
            ("TOKENFERRY__BATCH__MAX_TOKENS", "50"),
            ("TOKENFERRY__SOURCE__COLUMNS__USER_ID", "uid"),
        ],
    )
    .unwrap();
    assert_eq!(settings.batch.max_tokens, 50);
    assert_eq!(
        settings.source.columns[&crate::config::Field::UserId].expression,
        crate::config::Expression::Column("uid".into())
    );
}

#[test]
fn apps_keep_their_case_and_their_dots() {
    let settings = settings(
        &format!("{MINIMAL}\n[apps]\nGoogle = \"g\"\n\"a.b\" = \"c\""),
        &[],
    )
    .unwrap();
    assert_eq!(settings.apps.resolve("Google"), Some("g"));
    assert_eq!(settings.apps.resolve("a.b"), Some("c"));
    assert_eq!(settings.apps.resolve("google"), None);
}

#[test]
fn every_problem_names_its_key_and_what_it_must_be() {
    let wrong: &[(&str, &str, &str)] = &[
        (
            "TOKENFERRY__BATCH__MAX_TOKENS",
            "0",
            "`batch.max_tokens` must be a whole number of at least 1",
        ),
        (
            "TOKENFERRY__BATCH__MAX_TOKENS",
            "many",
            "`batch.max_tokens` must be a whole number of at least 1",
        ),
        (
            "TOKENFERRY__BATCH__MAX_TOKEN",
            "5",
            "did you mean `batch.max_tokens`?",
        ),
        (
            "TOKENFERRY__BATCH__MAX_BYTES",
            "5",
            "`batch.max_bytes` must be a size of at least 1.0 KiB",
        ),
        (
            "TOKENFERRY__API__TIMEOUT",
            "soon",
            "`api.timeout` must be a duration",
        ),
        (
            "TOKENFERRY__BATCH__ON_FAILURE",
            "explode",
            "must be \"isolate\" or \"reject\"",
        ),
        (
            "TOKENFERRY__BATCH__VERIFY_REFRESH",
            "yes",
            "`batch.verify_refresh` must be \"false\" or \"true\"",
        ),
        (
            "TOKENFERRY__API__BASE_URL",
            "http://api.descope.com",
            "`api.base_url` must begin with https://",
        ),
        (
            "TOKENFERRY__SOURCE__QUERY",
            "select 1",
            "`source.query` cannot be combined with `source.table`",
        ),
        (
            "TOKENFERRY__SOURCE__URL",
            "mysql://x",
            "`source.url` must be a Postgres URL",
        ),
        (
            "TOKENFERRY__API__MANAGEMENT_KEY",
            "env:NO_SUCH_VARIABLE_HERE",
            "NO_SUCH_VARIABLE_HERE, which is not set",
        ),
        (
            "TOKENFERRY__API__MANAGEMENT_KEY",
            "file:/no/such/file",
            "points to the file /no/such/file",
        ),
        (
            "TOKENFERRY__LEDGER__SCHEMA",
            "pg_x",
            "`ledger.schema` must be a schema name",
        ),
        (
            "TOKENFERRY__API__RATE_LIMIT__BURST",
            "101",
            "`api.rate_limit.burst` must be at most",
        ),
    ];
    for (variable, value, expected) in wrong {
        let error = settings(MINIMAL, &[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(expected), "{variable}={value}: {error}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let ConfigError::Invalid(problems) = settings("", &[]).unwrap_err() else {
        panic!("another error")
    };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in [
        "migration",
        "source.url",
        "source.table",
        "source.key",
        "source.columns.app",
        "api.project_id",
    ] {
        assert!(keys.contains(&key), "{key} is not among {keys:?}");
    }
}

#[test]
fn no_message_repeats_a_value() {
    let text = MINIMAL
        .replace("K123", "K123 with spaces")
        .replace("\"m\"", "\"m");
    let syntax = settings(&text, &[]).unwrap_err();
    assert!(
        matches!(&syntax, ConfigError::Syntax { line: 2, .. }),
        "{syntax:?}"
    );
    let invalid = settings(&MINIMAL.replace("K123", "K123 spaced"), &[])
        .unwrap_err()
        .to_string();
    assert!(
        invalid.contains("api.management_key") && !invalid.contains("K123"),
        "{invalid}"
    );
    let url = settings(&MINIMAL.replace("postgres://u:p@", "postgres//u:hunter2@"), &[])
        .unwrap_err()
        .to_string();
    assert!(!url.contains("hunter2"), "{url}");
}

#[test]
fn a_column_may_be_an_expression() {
    let text = MINIMAL.replace("app = \"provider\"", "app = { sql = \"'google'\" }");
    let settings = settings(&text, &[]).unwrap();
    assert_eq!(
        settings.source.columns[&crate::config::Field::App].expression,
        crate::config::Expression::Sql("'google'".into())
    );
}

#[test]
fn an_expression_with_a_key_beside_it_is_refused() {
    let text = MINIMAL.replace("app = \"provider\"", "app = { sql = \"'g'\", sqll = \"x\" }");
    let error = settings(&text, &[]).unwrap_err().to_string();
    assert!(
        error.contains("did you mean `source.columns.app.sql`?"),
        "{error}"
    );
}

#[test]
fn batches_grow_no_further_than_is_safe_and_quotas_are_shared() {
    let plain = settings(MINIMAL, &[]).unwrap();
    assert_eq!((plain.batch.grow_to, plain.batch.growth_limit()), (2000, 2000));
    assert!(plain.api.sharing.enabled);
    assert_eq!(plain.api.sharing.ceiling, None);
    let large = settings(MINIMAL, &[("TOKENFERRY__BATCH__MAX_TOKENS", "3000")]).unwrap();
    assert_eq!(large.batch.grow_to, 3000);
    for (key, value) in [("ON_FAILURE", "reject"), ("ON_UNKNOWN", "resend")] {
        let key = format!("TOKENFERRY__BATCH__{key}");
        let fixed = settings(MINIMAL, &[(&key, value)]).unwrap();
        assert_eq!(fixed.batch.growth_limit(), 100, "{key}");
    }
    for (environment, expected) in [
        (
            &[("TOKENFERRY__BATCH__GROW_TO", "50")][..],
            "`batch.grow_to` must be at least `batch.max_tokens`",
        ),
        (
            &[("TOKENFERRY__API__RATE_LIMIT__CEILING", "50")],
            "`api.rate_limit.ceiling` must be at least `api.rate_limit.requests`",
        ),
        (
            &[
                ("TOKENFERRY__API__RATE_LIMIT__CEILING", "500"),
                ("TOKENFERRY__API__RATE_LIMIT__SHARE", "false"),
            ],
            "`api.rate_limit.ceiling` needs `api.rate_limit.share`",
        ),
    ] {
        let error = settings(MINIMAL, environment).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
