//! The example configuration: complete, true about the defaults, and fit to be copied.

use std::{collections::BTreeSet, fs, path::Path};

use tokenferry::{
    config::{ConfigError, Settings, known_keys},
    domain::Rule,
};

use crate::support::settings::try_settings;

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tokenferry.example.toml");
    fs::read_to_string(path).unwrap()
}

/// A line that is a key commented out has no space after its `#`; prose has one.
fn is_optional_key(line: &str) -> bool {
    line.strip_prefix('#')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '"'))
}

/// Puts optional keys in, where `wanted` agrees.
fn with_optional(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut table = String::new();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            header.clone_into(&mut table);
        }
        let uncommented = line
            .strip_prefix('#')
            .filter(|_| is_optional_key(line))
            .filter(|rest| wanted(&dotted(&table, rest)));
        out += uncommented.unwrap_or(line);
        out.push('\n');
    }
    out
}

fn dotted(table: &str, line: &str) -> String {
    let name = line.split('=').next().unwrap_or_default().trim();
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// The environment of this process is not to be changed, so what it would hold is written in its place.
fn without_environment(text: &str) -> String {
    [
        ("env:SOURCE_DATABASE_URL", "postgres://u:p@localhost/source"),
        ("env:LEDGER_DATABASE_URL", "postgres://u:p@localhost/ledger"),
        ("env:TOKENFERRY_PEPPER", "black"),
        (
            "env:FERNET_KEY_NEW",
            "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
        ),
        (
            "env:FERNET_KEY_OLD",
            "9CjbDK-yXQSKsxMnDjvvqvSpylW0f1boWZ-pFenilK0=",
        ),
        ("env:AES_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("env:LEGACY_KEY", "legacy"),
        ("env:TOKENFERRY_LIVE_TOKEN", "0123456789abcdef"),
        ("env:DESCOPE_PROJECT_ID", "P123"),
        ("env:DESCOPE_MANAGEMENT_KEY", "K123"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    try_settings(&without_environment(text))
}

/// Keys whose absence means "none": what the example shows for them is an example.
fn has_a_default(key: &str) -> bool {
    let without = [
        "source.preset",
        "source.query",
        "source.where",
        "rules.tolerate",
        "ledger.url",
        "ledger.pepper",
        "api.rate_limit.egress",
        "api.rate_limit.ceiling",
        "notify.command",
        "metrics.listen",
        "metrics.push_url",
        "live.token",
        "live.hosts",
    ];
    let tables = [
        "source.columns.",
        "source.decrypt.",
        "source.provider.",
        "source.session.",
    ];
    !without.contains(&key) && !tables.iter().any(|table| key.starts_with(table))
}

/// Tables whose keys are the user's.
const FREE: [&str; 2] = ["apps", "source.session"];

/// The dotted keys of a text; a table with free keys is one.
fn keys(text: &str) -> BTreeSet<String> {
    fn collect(prefix: &str, table: &toml::Table, into: &mut BTreeSet<String>) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                toml::Value::Table(inner) if !FREE.contains(&key.as_str()) => collect(&key, inner, into),
                _ => {
                    into.insert(key);
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    collect("", &toml::from_str(text).unwrap(), &mut found);
    found
}

/// It is in the program: whoever installed that has no other.
#[tokio::test]
async fn the_example_is_printed() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    let output = command.args(["config", "example"]).output().await.unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), example());
}

#[test]
fn the_example_loads_as_it_is() {
    let settings = load(&example()).unwrap();
    assert_eq!(settings.migration, "crm-tokens");
    assert_eq!(settings.apps.resolve("google"), Some("google-calendar"));
    assert_eq!(settings.api.base_url.as_str(), "https://api.descope.com/");
}

#[test]
fn the_example_needs_no_more_than_the_variables_it_names() {
    // Under these names nobody has them set.
    let text = example().replace("\"env:", "\"env:NOT_SET_HERE_");
    let Err(ConfigError::Invalid(problems)) = try_settings(&text) else {
        panic!("it loaded, or something else is wrong")
    };
    // The source's URL is also the ledger's, and is a problem once.
    assert_eq!(problems.len(), 3, "{problems:?}");
    for problem in &problems {
        assert!(
            problem.must.contains("points to the environment variable"),
            "{problem}"
        );
    }
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let everything = with_optional(&example(), |_| true);
    let known: BTreeSet<String> = known_keys().into_iter().collect();
    assert_eq!(keys(&everything), known);
}

#[test]
fn the_example_is_the_contract_of_keys() {
    // Renaming or dropping one of these breaks the files that people have.
    let known = known_keys();
    for key in [
        "migration",
        "source.url",
        "source.table",
        "source.preset",
        "source.query",
        "source.key",
        "source.where",
        "source.row_security",
        "source.page_size",
        "source.columns.app",
        "source.columns.user_id",
        "source.columns.tenant_id",
        "source.columns.access_token",
        "source.columns.refresh_token",
        "source.columns.access_token_expiry",
        "source.columns.access_token_type",
        "source.columns.scopes",
        "source.columns.external_identifier",
        "source.columns.id_token",
        "source.columns.granted_by",
        "source.columns.updated_at",
        "apps",
        "ledger.url",
        "ledger.schema",
        "api.base_url",
        "api.project_id",
        "api.management_key",
        "api.timeout",
        "api.rate_limit.requests",
        "api.rate_limit.per",
        "api.rate_limit.burst",
        "api.retry.max_attempts",
        "api.retry.initial_interval",
        "api.retry.max_interval",
        "batch.max_tokens",
        "batch.max_bytes",
        "batch.concurrency",
        "batch.on_failure",
        "batch.on_unknown",
        "batch.verify_refresh",
        "stop.after_failed_batches",
    ] {
        assert!(known.iter().any(|known| known == key), "{key}");
    }
}

#[test]
fn what_the_example_shows_for_an_optional_key_is_its_default() {
    let plain = load(&example()).unwrap();
    let spelt_out = with_optional(&example(), has_a_default);
    assert!(keys(&spelt_out).contains("stop.after_unreachable"));
    let spelt_out = load(&spelt_out).unwrap();
    assert_eq!(format!("{spelt_out:#?}"), format!("{plain:#?}"));
}

#[test]
fn what_the_example_shows_for_the_other_keys_is_valid() {
    let with_table = with_optional(&example(), |key| key != "source.query");
    let settings = load(&with_table).unwrap();
    assert_eq!(settings.source.columns.len(), 14, "and the provider");
    assert!(settings.source.provider.is_some());
    assert_eq!(settings.source.condition.as_deref(), Some("revoked_at IS NULL"));
    assert!(settings.ledger.pepper.is_some());
    let notify = settings.notify.unwrap();
    assert_eq!(notify.program, "/usr/local/bin/tell-us");
    assert_eq!(notify.arguments, ["--channel", "migrations"]);
    assert!(settings.tolerated.contains(Rule::TokenEncrypted));
    assert_eq!(settings.source.session[0].name, "tokenferry.key");
    let with_query =
        with_optional(&example(), |key| key == "source.query").replace("\ntable = ", "\n#table = ");
    load(&with_query).unwrap();
}

#[test]
fn only_suspicions_can_be_tolerated() {
    let with = |codes: &str| {
        let text = with_optional(&example(), |key| key == "rules.tolerate");
        load(&text.replace("[\"token_encrypted\"]", codes))
    };
    // As an environment variable has it.
    let settings = with("\"token_quoted, id_padded\"").unwrap();
    assert!(settings.tolerated.contains(Rule::TokenQuoted) && settings.tolerated.contains(Rule::IdPadded));
    for (codes, expected) in [
        (
            "[\"no_token\"]",
            "`rules.tolerate` contains no_token that cannot be tolerated",
        ),
        ("[\"token_crypted\"]", "did you mean \"token_encrypted\"?"),
        ("[\"zzz\"]", "the codes are id_padded, "),
        ("7", "must be a list of codes"),
    ] {
        let error = with(codes).unwrap_err().to_string();
        assert!(error.contains(expected), "{codes}: {error}");
    }
}

#[test]
fn every_key_is_explained() {
    let text = example();
    let mut explained = false;
    let mut table = String::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            // A paragraph ends; keys that belong together share the words above them.
            explained = false;
        } else if line.starts_with("# ") {
            explained = true;
        } else if let Some(header) = line.strip_prefix('[') {
            header.clone_into(&mut table);
        } else {
            let name = dotted("", line.trim_start_matches('#'));
            let speaks_for_itself = ["id_token", "project_id", "management_key"].contains(&name.as_str());
            assert!(
                explained || speaks_for_itself,
                "`{name}` below [{table} is not explained"
            );
        }
        assert!(line.chars().count() <= 125, "too long to be read: {line}");
    }
}

#[test]
fn a_misspelt_key_is_answered_with_the_right_one() {
    let everything = with_optional(&example(), |key| key != "source.query");
    for key in keys(&everything) {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", &key));
        if FREE.contains(&key.as_str()) {
            continue;
        }
        // A letter doubled at the end; the line stays in its table.
        let line = everything
            .lines()
            .scan(String::new(), |at, line| {
                if let Some(header) = line.strip_prefix('[') {
                    header.split(']').next().unwrap_or_default().clone_into(at);
                }
                Some((at.clone(), line))
            })
            .find(|(at, line)| at == table && line.split(" = ").next() == Some(name))
            .map(|(_, line)| line)
            .unwrap();
        let last = name.chars().last().unwrap();
        let misspelt = line.replacen(name, &format!("{name}{last}"), 1);
        let before = format!("\n{line}\n");
        let text = match table {
            "" => everything.replacen(&before, &format!("\n{misspelt}\n"), 1),
            _ => everything.replacen(
                &format!("\n[{table}]\n"),
                &format!("\n[{table}]\n{misspelt}\n"),
                1,
            ),
        };
        let error = load(&text).unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "`{key}{last}` is not a known key; did you mean `{key}`?"
            )),
            "{key}: {error}"
        );
    }
}
