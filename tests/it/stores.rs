//! Presets: for each, the store's real tables with what is peculiar about them, from the preset to verified
//! tokens.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::pty::openpty;
use serde_json::{Value, json};
use tokenferry::{
    config::presets,
    simulator::{Simulator, User},
};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::support::bed::{Bed, Ran, TOKEN, ended};

/// A store with a few rows, and what has to become of them.
struct Store {
    preset: &'static str,
    sql: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Tokens: app, owner, access token, refresh token, expiry, scopes, external identifier.
    stored: Value,
    /// Failures by code, and rows that are left out for a newer one.
    failed: Value,
    superseded: u64,
}

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";
/// Of the values that other programs encrypted.
const SYNTHETIC: &str = "ya29.SYNTHETIC-6OMByxuHdtM_Y9iuFPd0";
const REFRESH: &str = "1//SYNTHETIC-refresh";
const LATER: i64 = 1_900_000_001;

macro_rules! store {
    ($preset:literal, $environment:expr, $stored:tt, $failed:tt, $superseded:expr) => {
        Store {
            preset: $preset,
            sql: include_str!(concat!("../fixtures/stores/", $preset, ".sql")),
            environment: $environment,
            stored: json!($stored),
            failed: json!($failed),
            superseded: $superseded,
        }
    };
}

fn authjs(preset: &'static str, sql: &'static str, superseded: u64) -> Store {
    Store {
        preset,
        sql,
        environment: &[],
        stored: json!([
            ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
            [
                "google",
                ANN,
                "ya29.ann",
                "1//ann",
                LATER,
                ["email", "openid"],
                "g1"
            ],
            ["google", ANN, "ya29.ann-2", null, 0, ["email", "openid"], "g2"],
        ]),
        failed: json!({}),
        superseded,
    }
}

fn plain_stores() -> Vec<Store> {
    vec![
        authjs("authjs-pg", include_str!("../fixtures/stores/authjs-pg.sql"), 1),
        authjs(
            "authjs-prisma",
            include_str!("../fixtures/stores/authjs-prisma.sql"),
            0,
        ),
        authjs(
            "authjs-drizzle",
            include_str!("../fixtures/stores/authjs-drizzle.sql"),
            0,
        ),
        store!(
            "better-auth",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                [
                    "google",
                    ANN,
                    "ya29.ann",
                    "1//ann",
                    LATER,
                    ["https://www.googleapis.com/auth/calendar", "openid"],
                    "g1"
                ],
            ],
            {},
            0
        ),
        store!(
            "django-allauth",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", LATER, [], "g1"],
            ],
            {},
            1
        ),
        store!(
            "keycloak",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", LATER, ["email", "openid"], "g1"],
            ],
            { "unreadable_value": 1 },
            0
        ),
        store!(
            "hasura",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", 0, [], "g1"],
                ["google", ANN, "ya29.ann-2", null, 0, [], "g2"],
            ],
            {},
            0
        ),
        store!(
            "kratos",
            &[],
            [
                ["github", ANN, "gho_ann", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", 0, [], "g1"],
            ],
            {},
            0
        ),
        store!(
            "calcom",
            &[],
            [
                [
                    "google_calendar",
                    ANN,
                    "ya29.ann",
                    "1//ann",
                    LATER,
                    ["email", "openid"],
                    "1"
                ],
                [
                    "office365_calendar",
                    BOB,
                    "eyJ0.bob",
                    "0.bob",
                    LATER,
                    ["User.Read"],
                    "2"
                ],
                ["zoom_video", "7", "zoom-team", "zoom-r", LATER, [], "3"],
            ],
            {},
            0
        ),
    ]
}

fn social_auth(sql: &'static str) -> Store {
    Store {
        preset: "python-social-auth",
        sql,
        environment: &[],
        stored: json!([
            ["github", BOB, "gho_bob", null, LATER, [], "h1"],
            ["gitlab", BOB, "glpat-bob", null, LATER, [], "l1"],
            ["gitlab", BOB, "glpat-bob-2", null, 0, [], "l2"],
            [
                "google",
                ANN,
                "ya29.ann",
                "1//ann",
                LATER,
                ["email", "openid"],
                "g1"
            ],
            ["google", ANN, "ya29.ann-2", null, LATER, [], "g2"],
        ]),
        failed: json!({ "unreadable_value": 1 }),
        superseded: 0,
    }
}

fn encrypted_stores() -> Vec<Store> {
    let long = include_str!("../fixtures/encrypted-values.json");
    let vectors: Value = serde_json::from_str(long).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    let of_better_auth = vectors
        .iter()
        .find(|vector| vector["id"] == "better-auth-05")
        .unwrap();
    vec![
        store!(
            "better-auth-encrypted",
            &[("BETTER_AUTH_SECRET", "better-auth-secret-12345678901234567890")],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                ["google", ANN, (of_better_auth["plaintext"]), null, LATER, ["openid"], "g1"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "nango",
            &[("NANGO_ENCRYPTION_KEY", "/Qc+bTEfFTcGLb4mtdFnCCiRl+BivjjOdg10gLSIP/o=")],
            [
                ["github", "U-bob", SYNTHETIC, REFRESH, 0, ["a", "b"], "c2"],
                ["google", "U-ann", SYNTHETIC, REFRESH, LATER, ["a", "b"], "c1"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "grafana",
            &[("GF_SECURITY_SECRET_KEY", "SW2YcwTIb9zpOOhoPsMm")],
            [
                ["oauth_generic_oauth", BOB, SYNTHETIC, null, 0, [], null],
                ["oauth_google", ANN, SYNTHETIC, null, LATER, [], null],
            ],
            {},
            1
        ),
        store!(
            "n8n",
            &[("N8N_ENCRYPTION_KEY", "synthetic-n8n-key")],
            [
                ["googleDriveOAuth2Api", BOB, SYNTHETIC, REFRESH, 0, ["a", "b"], "c2"],
                ["googleSheetsOAuth2Api", ANN, SYNTHETIC, REFRESH, 0, ["a", "b"], "c1"],
            ],
            { "no_token": 1 },
            0
        ),
    ]
}

impl Store {
    /// Ann and Bob sign in with their e-mail addresses; two more are known by their IDs.
    fn users() -> Vec<User> {
        [ANN, BOB]
            .into_iter()
            .map(|email| User::from(email).with_login_id(email))
            .chain(["U-ann", "U-bob"].map(User::from))
            .collect()
    }

    async fn bed(&self) -> Bed {
        let bed = Bed::with(Simulator::builder().users(Self::users())).await;
        bed.sql("drop table legacy_tokens").await;
        bed.sql(self.sql).await;
        bed
    }

    /// A command with nothing but a database URL, credentials, and a file in an empty folder. Only where the
    /// API is, and how fast it is, differs from what a person has.
    fn command(&self, bed: &Bed, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        command
            .args(arguments)
            .arg("--config")
            .arg(folder.join("tokenferry.toml"))
            .env("SOURCE_DATABASE_URL", bed.database.url())
            .env("DESCOPE_PROJECT_ID", bed.api.project_id())
            .env("DESCOPE_MANAGEMENT_KEY", bed.api.management_key().reveal())
            .env("TOKENFERRY__API__BASE_URL", bed.api.base_url())
            .env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "1000")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .envs(self.environment.iter().copied());
        for kind in ["USERS", "SEARCH"] {
            command
                .env(format!("TOKENFERRY__API__LOOKUP__{kind}__REQUESTS"), "100000")
                .env(format!("TOKENFERRY__API__LOOKUP__{kind}__PER"), "1s");
        }
        command
    }

    async fn run(&self, bed: &Bed, folder: &Path, arguments: &[&str]) -> Ran {
        ended(self.command(bed, folder, arguments).output()).await
    }

    /// From nothing to verified tokens: `init` recognises the store, and what it writes is enough.
    async fn moves(&self) {
        let name = self.preset;
        let (bed, folder) = (self.bed().await, tempfile::tempdir().unwrap());
        let run = async |arguments: &[&str]| self.run(&bed, folder.path(), arguments).await;
        let code = if self.failed == json!({}) { 0 } else { 3 };
        let init = run(&["init", "--yes"]).await;
        assert_eq!(init.code, 0, "{name}: {}", init.stderr);
        let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
        assert!(
            written.contains(&format!("preset = \"{name}\"")),
            "{name}: {written}"
        );
        let doctor = run(&["doctor"]).await;
        assert_eq!(doctor.code, 0, "{name}: {}", doctor.stdout);
        let dry_run = run(&["migrate", "--dry-run", "--json"]).await;
        assert_eq!(dry_run.code, code, "{name}: {}{}", dry_run.stdout, dry_run.stderr);
        assert_eq!(bed.api.stored_count(), 0, "{name}");
        let ran = run(&["migrate", "--json"]).await;
        assert_eq!(ran.code, code, "{name}: {}{}", ran.stdout, ran.stderr);
        let report = ran.json();
        assert_eq!(report["failures_by_code"], self.failed, "{name}");
        assert_eq!(report["tokens"]["superseded"], self.superseded, "{name}");
        assert_eq!(stored(&bed), self.stored, "{name}");
        let verified = run(&["verify"]).await;
        assert_eq!(verified.code, 0, "{name}: {}{}", verified.stdout, verified.stderr);
        self.shows_no_value(&[init.stdout, init.stderr, written, doctor.stdout].concat());
    }

    /// What `init` looked at stays in the database.
    fn shows_no_value(&self, told: &str) {
        let texts = self
            .stored
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|token| [&token[2], &token[3]]);
        for secret in texts.filter_map(Value::as_str) {
            assert!(!told.contains(secret), "{}: {secret} was told", self.preset);
        }
        for (variable, key) in self.environment {
            assert!(told.contains(variable) && !told.contains(key), "{variable}");
        }
    }

    /// With lines of a person's own in the file.
    async fn with_settings(&self, bed: &Bed, settings: &str, arguments: &[&str]) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "migration = \"store\"\n{settings}\nsource.url = \"env:SOURCE_DATABASE_URL\"\n\
             api.project_id = \"env:DESCOPE_PROJECT_ID\"\napi.management_key = \"env:DESCOPE_MANAGEMENT_KEY\"\n"
        );
        fs::write(folder.path().join("tokenferry.toml"), text).unwrap();
        self.run(bed, folder.path(), arguments).await
    }
}

fn stored(bed: &Bed) -> Value {
    let mut stored: Vec<Value> = bed
        .api
        .stored()
        .iter()
        .map(|token| {
            let to = &token.destination;
            json!([
                to.app_id,
                to.user_id.as_ref().or(to.tenant_id.as_ref()),
                token.exposed_access_token(),
                token.exposed_refresh_token(),
                token.access_token_expiry,
                to.scopes,
                to.external_identifier,
            ])
        })
        .collect();
    stored.sort_by_key(ToString::to_string);
    stored.into()
}

#[tokio::test]
async fn every_plain_store_moves_by_its_preset_alone() {
    for store in plain_stores() {
        store.moves().await;
    }
}

#[tokio::test]
async fn extra_data_moves_from_jsonb_and_from_text() {
    for column_type in ["jsonb", "text"] {
        let sql = include_str!("../fixtures/stores/python-social-auth.sql").replace("TYPE", column_type);
        social_auth(sql.leak()).moves().await;
    }
}

#[tokio::test]
async fn every_encrypted_store_moves_by_its_preset_and_a_key() {
    for store in encrypted_stores() {
        store.moves().await;
    }
}

#[test]
fn no_preset_is_without_a_test() {
    let mut tested: Vec<&str> = plain_stores().iter().map(|store| store.preset).collect();
    tested.extend(encrypted_stores().iter().map(|store| store.preset));
    tested.push("python-social-auth");
    tested.sort_unstable();
    let all: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    assert_eq!(tested, all);
}

#[tokio::test]
async fn what_the_file_says_lies_above_the_preset() {
    let store = plain_stores().remove(1);
    let settings = "source.preset = \"authjs-prisma\"\n\
                    source.where = \"provider = 'github'\"\n\
                    source.columns.user_id = { sql = \"'U-bob'\" }\n\
                    source.columns.scopes = { sql = \"'repo'\" }";
    let bed = store.bed().await;
    store
        .with_settings(&bed, settings, &["migrate", "--json"])
        .await
        .ended_with(0);
    assert_eq!(
        stored(&bed),
        json!([["github", "U-bob", "gho_bob", null, 0, ["repo"], "h1"]])
    );
    let shown = store
        .with_settings(&bed, settings, &["config", "show"])
        .await
        .ended_with(0)
        .stdout;
    for line in [
        "source.preset = authjs-prisma    # file",
        "source.table = Account    # preset",
        "source.key = provider, providerAccountId    # preset",
        "source.where = (hidden)    # file",
        "source.columns.access_token = access_token    # preset",
        "source.columns.login_id.sql = (select u.email from \"User\" u",
        "source.page_size = 5000    # default",
        "api.base_url = http://",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains(bed.api.management_key().reveal()), "{shown}");
    let check = store
        .with_settings(&bed, settings, &["config", "check"])
        .await
        .ended_with(0);
    assert!(
        check.stdout.contains("is valid: migration \"store\""),
        "{}",
        check.stdout
    );
    let misspelt = settings.replace("authjs-prisma", "authjs-prism");
    let wrong = store
        .with_settings(&bed, &misspelt, &["config", "check"])
        .await
        .ended_with(2);
    let said = "`source.preset` must be the name of a preset; did you mean \"authjs-prisma\"?";
    assert!(wrong.stderr.contains(said), "{}", wrong.stderr);
}

#[tokio::test]
async fn an_unknown_table_is_found_by_its_columns_and_what_is_open_is_marked() {
    let store = plain_stores().remove(0);
    let bed = Bed::with(Simulator::builder()).await;
    bed.rows(1, 30).await;
    bed.sql("create table sessions (id int primary key, token text); analyze")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| store.run(&bed, folder.path(), arguments).await;
    let init = run(&["init"]).await.ended_with(0);
    assert!(
        init.stdout
            .contains("grant select on \"public\".\"legacy_tokens\" to"),
        "{}",
        init.stdout
    );
    let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let written = file("tokenferry.toml");
    for line in [
        "#:schema ./tokenferry.schema.json",
        "table = \"legacy_tokens\"",
        "key = \"id\"",
        "refresh_token = \"refresh_token\"",
        "access_token_expiry = \"expires_at\"",
        "# OPEN: `user_id` must be",
        "\"google\" = \"google\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(file(".env.example").contains("DESCOPE_MANAGEMENT_KEY="));
    assert!(
        serde_json::from_str::<Value>(&file("tokenferry.schema.json")).unwrap()["properties"]["source"]
            .is_object()
    );
    run(&["doctor"]).await.ended_with(0);
    run(&["migrate", "--dry-run"]).await.ended_with(0);
    assert!(![init.stdout, init.stderr, written].concat().contains(TOKEN));

    // Nothing is overwritten.
    let again = run(&["init", "--yes"]).await.ended_with(2);
    assert!(
        again.stderr.contains("exists already: nothing was written"),
        "{}",
        again.stderr
    );
}

#[tokio::test]
async fn encrypted_values_are_recognised_and_asked_for_by_a_variable() {
    let store = plain_stores().remove(0);
    let bed = Bed::with(Simulator::builder()).await;
    bed.sql(
        "drop table legacy_tokens; create schema crm;
         create table crm.\"Grants\" (\"Provider\" text, \"UserId\" text, \"AccessToken\" text, \"ExpiresIn\" int, \"UpdatedAt\" timestamptz,
                                      data jsonb, unique (\"Provider\", \"UserId\"));
         insert into crm.\"Grants\" values ('google', 'u1', 'gAAAAABrAmaJScRcMGmAcJjVSv1jlrhRs6E1PCf-Qsddl1-d-J4rKFR4dpehiNSXNnH3vpDL5elnlLcoe4bRlPTHFd35Dw_7dkhR4gc1b_XciveXseKMKRU=', 60, now()),
             ('ya29.a0AfH6SMBx1y2z3w4v5u', 'u2', 'x', 60, now())",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    store
        .run(&bed, folder.path(), &["init", "--table", "crm.Grants"])
        .await
        .ended_with(0);
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    // A token where the name of an app should be.
    assert!(!written.contains("ya29"), "{written}");
    for line in [
        "table = \"crm.Grants\"",
        "# OPEN: the table has no unique key without nulls",
        "access_token = { column = \"AccessToken\", decrypt = \"fernet\" }",
        "access_token_expiry = { column = \"ExpiresIn\", since = \"UpdatedAt\" }",
        "fernet = \"env:SOURCE_TOKEN_KEY\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (
            &["init", "--table", "crm.Grant"][..],
            "there is no table crm.Grant",
        ),
        (
            &["init", "--preset", "keyclock"],
            "the presets are authjs-drizzle",
        ),
    ] {
        let wrong = store.run(&bed, folder.path(), arguments).await.ended_with(2);
        assert!(wrong.stderr.contains(said), "{}", wrong.stderr);
    }
    bed.sql("drop schema crm cascade").await;
    let none = store.run(&bed, folder.path(), &["init"]).await.ended_with(2);
    assert!(
        none.stderr
            .contains("no table of this database looks as if it held tokens"),
        "{}",
        none.stderr
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_created_is_a_usage_error_with_path_and_reason() {
    let store = plain_stores().remove(1);
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let missing = folder.path().join("missing");
    let init = store.run(&bed, &missing, &["init", "--yes"]).await.ended_with(2);
    let path = missing.join("tokenferry.toml");
    let said = format!("{} cannot be created: No such file", path.display());
    assert!(init.stderr.contains(&said), "{}", init.stderr);
}

#[tokio::test]
async fn a_preset_for_another_table_grants_that_one_too() {
    for (schema, table) in [("crm", "\"crm.Logins\""), ("c.rm", "'\"c.rm\".Logins'")] {
        let store = plain_stores().remove(1);
        let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
        bed.sql(&format!(
            "create schema \"{schema}\"; create table \"{schema}\".\"Logins\" (like \"Account\")"
        ))
        .await;
        let name = format!("{schema}.Logins");
        let arguments = ["init", "--preset", "authjs-prisma", "--table", name.as_str()];
        let init = store.run(&bed, folder.path(), &arguments).await.ended_with(0);
        for said in [
            format!("grant usage on schema \"{schema}\", "),
            format!(", \"{schema}\".\"Logins\" to tokenferry_reader;"),
        ] {
            assert!(init.stdout.contains(&said), "{said}: {}", init.stdout);
        }
        let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
        assert!(written.contains(&format!("table = {table}")), "{written}");
    }
}

#[tokio::test]
async fn a_store_of_an_earlier_version_moves_without_the_table_that_it_lacks() {
    let mut store = encrypted_stores().remove(3);
    store.sql = concat!(
        include_str!("../fixtures/stores/n8n.sql"),
        "; delete from credentials_entity where data ~ '^[^:]+:'; drop table deployment_key"
    );
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let init = store
        .run(&bed, folder.path(), &["init", "--yes"])
        .await
        .ended_with(0);
    assert!(!init.stdout.contains("deployment_key"), "{}", init.stdout);
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    let said = "# The database has no table `deployment_key`.";
    assert!(written.contains(said), "{written}");
    let doctor = store.run(&bed, folder.path(), &["doctor"]).await;
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    let ran = store.run(&bed, folder.path(), &["migrate", "--json"]).await;
    assert!(matches!(ran.code, 0 | 3), "{}{}", ran.stdout, ran.stderr);
    assert!(bed.api.stored_count() > 0, "{}", ran.stdout);
}

#[tokio::test]
async fn data_keys_are_read_whatever_form_of_bytes_the_database_prefers() {
    let mut store = encrypted_stores().remove(2);
    let set = "do $$ begin execute format('alter database %I set bytea_output = escape', current_database()); end $$;";
    store.sql = format!("{set}\n{}", store.sql).leak();
    store.moves().await;
}

/// Answers each question once it is on the terminal.
async fn answer(mut command: Command, answers: &[(&str, &str)]) -> (i32, String) {
    let pty = openpty(None, None).unwrap();
    command
        .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
        .stderr(Stdio::from(pty.slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(pty.master);
    let seen = Arc::new(Mutex::new(String::new()));
    let (mut output, writes) = (terminal.try_clone().unwrap(), Arc::clone(&seen));
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        // Ends with an error when nobody has the other end any more.
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            writes.lock().unwrap().push_str(&text);
        }
    });
    for (question, answer) in answers {
        let is_there = async {
            while !seen.lock().unwrap().contains(question) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let asked = timeout(Duration::from_secs(60), is_there).await;
        asked.unwrap_or_else(|_| panic!("{question}: {}", seen.lock().unwrap()));
        terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap()
        .unwrap();
    let seen = seen.lock().unwrap().clone();
    (status.code().unwrap(), seen)
}

#[tokio::test]
async fn a_person_at_a_terminal_is_asked_what_only_a_person_can_decide() {
    let store = plain_stores().remove(1);
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let mut command = store.command(&bed, folder.path(), &["init"]);
    command.env_remove("SOURCE_DATABASE_URL");
    let (code, seen) = answer(
        command,
        &[
            ("not shown): ", bed.database.url()),
            ("Name of the migration", "accounts"),
            ("the store's own (`id`)?", "yes"),
            ("yes is none of the answers", "id"),
            ("Outbound app of \"github\"?", "repositories"),
            ("Outbound app of \"google\"?", ""),
        ],
    )
    .await;
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains(bed.database.url()), "{seen}");
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    for line in [
        "migration = \"accounts\"",
        "\nuser_id = \"userId\"\n",
        "\"github\" = \"repositories\"",
        "\"google\" = \"google\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(!written.contains("OPEN"), "{written}");
    store
        .run(&bed, folder.path(), &["config", "check"])
        .await
        .ended_with(0);
}
