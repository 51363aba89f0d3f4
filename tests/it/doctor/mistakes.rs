//! Common mistakes: each is one finding with its cause and the command that fixes it. No value is repeated.

use crate::support::bed::{Bed, Ran};

const PASSWORD: &str = "pa55/w0rd";

/// What a person is told; all findings but those of the bed itself, whose role is a superuser.
struct Findings(Ran);

impl Findings {
    fn failed(&self) -> usize {
        self.0
            .stdout
            .lines()
            .filter(|line| line.starts_with("FAILED "))
            .count()
    }

    #[track_caller]
    fn say(&self, expected: &[&str]) {
        for expected in expected {
            assert!(self.0.stdout.contains(expected), "{expected}: {}", self.0.stdout);
        }
    }
}

async fn doctor(bed: &Bed, variables: &[(&str, &str)]) -> Findings {
    let mut command = bed.command(&["doctor"]);
    command.envs(variables.iter().copied());
    let ran = Ran::from(command.output().await.unwrap());
    let key = bed.api.management_key().reveal().to_owned();
    for secret in [&*key, "pa55", "w0rd", PASSWORD] {
        assert!(!ran.stdout.contains(secret), "{secret}: {}", ran.stdout);
    }
    Findings(ran)
}

async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    bed.sql("analyze legacy_tokens").await;
    bed
}

/// Names and values.
type Variables<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn mistakes_in_variables_are_one_finding_each() {
    let bed = bed().await;
    let key = bed.api.management_key().reveal().to_owned();
    let id = bed.api.project_id().to_owned();
    let url = |password: &str, rest: &str| format!("postgres://reader:{password}@db.internal{rest}");
    let [slash, mark, mode] = [
        url(PASSWORD, "/crm"),
        url("pa55#w0rd", "/crm"),
        url("pa55", "/crm?sslmode=verify_full"),
    ];
    let cases: [(Variables<'_>, &[&str]); 6] = [
        (
            &[("DESCOPE_PROJECT_ID", &key), ("DESCOPE_MANAGEMENT_KEY", &id)],
            &[
                "api.project_id: begins as a management key does",
                "export DESCOPE_PROJECT_ID=\"$DESCOPE_MANAGEMENT_KEY\" DESCOPE_MANAGEMENT_KEY=\"$DESCOPE_PROJECT_ID\"",
            ],
        ),
        (
            &[("DESCOPE_MANAGEMENT_KEY", "${DESCOPE_KEY}")],
            &[
                "api.management_key: contains `${DESCOPE_KEY}`, which nothing replaces",
                "export DESCOPE_MANAGEMENT_KEY=",
            ],
        ),
        (
            &[("TOKENFERRY_BATCH_MAX_TOKENS", "50")],
            &[
                "TOKENFERRY_BATCH_MAX_TOKENS: has no effect",
                "export TOKENFERRY__BATCH__MAX_TOKENS=\"$TOKENFERRY_BATCH_MAX_TOKENS\"; unset TOKENFERRY_BATCH_MAX_TOKENS",
            ],
        ),
        (
            &[("SOURCE_DATABASE_URL", &slash)],
            &["source.url: has a password (or a user)", "/ as %2F"],
        ),
        (&[("SOURCE_DATABASE_URL", &mark)], &["# as %23"]),
        (
            &[("SOURCE_DATABASE_URL", &mode)],
            &["did you mean `verify-full`?", "export SOURCE_DATABASE_URL="],
        ),
    ];
    for (variables, expected) in cases {
        let found = doctor(&bed, variables).await;
        found.say(expected);
        assert_eq!((found.failed(), found.0.code), (1, 2), "{}", found.0.stdout);
    }

    // A blank or line break around a key is cut off.
    let padded = format!("{key}\r\n\n");
    let found = doctor(&bed, &[("DESCOPE_MANAGEMENT_KEY", &padded)]).await;
    assert_eq!((found.failed(), found.0.code), (0, 0), "{}", found.0.stdout);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{key} \n")).unwrap();
    let pointer = format!("file:{}", file.path().display());
    let found = doctor(&bed, &[("TOKENFERRY__API__MANAGEMENT_KEY", &pointer)]).await;
    assert_eq!((found.failed(), found.0.code), (0, 0), "{}", found.0.stdout);
}

#[tokio::test]
async fn mistakes_in_the_file_are_one_finding_each() {
    let bed = bed().await;
    let key = bed.api.management_key().reveal().to_owned();
    let bed = bed.set(&format!("api.management_key = \"{key}\""));
    let found = doctor(&bed, &[]).await;
    found.say(&[
        "warning  api.management_key: the secret itself is written in the file",
        "export DESCOPE_MANAGEMENT_KEY=",
        "management_key = \"env:DESCOPE_MANAGEMENT_KEY\"",
    ]);
    assert_eq!(found.0.code, 0);

    for (line, expected) in [
        (
            "api.management_key = \"${DESCOPE_MANAGEMENT_KEY}\"",
            "\n       management_key = \"env:DESCOPE_MANAGEMENT_KEY\"",
        ),
        (
            "ledger.url = \"postgres://u:${DB_PASSWORD}@localhost/crm\"",
            "ledger.url: contains `${DB_PASSWORD}`",
        ),
    ] {
        let bed = Bed::new().await.set(line);
        bed.rows(1, 20).await;
        let found = doctor(&bed, &[]).await;
        found.say(&[expected]);
        assert!(!found.0.stdout.contains("is missing"), "{}", found.0.stdout);
        assert_eq!((found.failed(), found.0.code), (1, 2), "{}", found.0.stdout);
    }

    // The misspelt key is not missing as well.
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let path = bed.config();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("key = \"id\"", "keyy = \"id\"")).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    command
        .args(["doctor", "--config"])
        .arg(&path)
        .env("SOURCE_DATABASE_URL", bed.database.url())
        .env("DESCOPE_PROJECT_ID", bed.api.project_id())
        .env("DESCOPE_MANAGEMENT_KEY", bed.api.management_key().reveal());
    let found = Findings(Ran::from(command.output().await.unwrap()));
    found.say(&["did you mean `source.key`?"]);
    assert_eq!((found.failed(), found.0.code), (1, 2), "{}", found.0.stdout);
}

#[tokio::test]
async fn one_address_for_both_databases_fails_once_and_names_host_and_port() {
    let bed = bed().await;
    let found = doctor(
        &bed,
        &[("SOURCE_DATABASE_URL", "postgres://u:pa55@127.0.0.1:1/crm")],
    )
    .await;
    found.say(&[
        "source connection: 127.0.0.1:1: nothing listens there",
        "1. source connection: check host and port",
    ]);
    assert_eq!((found.failed(), found.0.code), (1, 6), "{}", found.0.stdout);
}

#[tokio::test]
async fn grants_are_printed_with_the_quoted_table_and_the_role() {
    let bed = bed().await;
    let (url, guest) = bed.database.create_guest().await;
    let variables = [
        ("SOURCE_DATABASE_URL", url.as_str()),
        ("TOKENFERRY__LEDGER__URL", bed.database.url()),
    ];
    let found = doctor(&bed, &variables).await;
    let grant = format!(
        "grant select on \"legacy_tokens\" to \"{}\";",
        guest.trim_matches('"')
    );
    found.say(&[&grant]);
    assert_eq!((found.failed(), found.0.code), (1, 6), "{}", found.0.stdout);
    // What it says is enough.
    bed.sql(&grant).await;
    let found = doctor(&bed, &variables).await;
    assert_eq!((found.failed(), found.0.code), (0, 0), "{}", found.0.stdout);
}

#[tokio::test]
async fn apps_that_are_not_mapped_are_one_finding_with_the_lines_to_add() {
    let bed = Bed::new().await.set("apps.gogle = \"google-calendar\"");
    bed.rows(1, 20).await;
    let found = doctor(&bed, &[]).await;
    found.say(&["source mapping: ", "\n       \"google\" = "]);
    assert!(!found.0.stdout.contains("app_names"), "{}", found.0.stdout);
    assert_eq!((found.failed(), found.0.code), (1, 2), "{}", found.0.stdout);
}
