//! Presets: for each, the store's real tables with what is peculiar about them, from the preset to verified
//! tokens.

mod encrypted;
mod files;
mod plain;
mod terminal;
mod unknown_tables;

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokenferry::{
    config::presets,
    simulator::{Simulator, User},
};
use tokio::process::Command;

use crate::support::bed::{Bed, Ran, ended};
use encrypted::encrypted_stores;
use plain::{plain_stores, social_auth};

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

/// The tables of a store.
macro_rules! sql {
    ($preset:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/stores/",
            $preset,
            ".sql"
        ))
    };
}

macro_rules! store {
    ($preset:literal, $environment:expr, $stored:tt, $failed:tt, $superseded:expr) => {
        Store {
            preset: $preset,
            sql: sql!($preset),
            environment: $environment,
            stored: json!($stored),
            failed: json!($failed),
            superseded: $superseded,
        }
    };
}

use {sql, store};

impl Store {
    /// The store of a preset.
    fn of(preset: &str) -> Self {
        let mut stores = plain_stores().into_iter().chain(encrypted_stores());
        stores.find(|store| store.preset == preset).unwrap()
    }

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
        let next = "\nNext: tokenferry migrate --dry-run\n";
        assert!(doctor.stdout.ends_with(next), "{name}: {}", doctor.stdout);
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
        let sql = sql!("python-social-auth").replace("TYPE", column_type);
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
    let store = Store::of("authjs-prisma");
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
