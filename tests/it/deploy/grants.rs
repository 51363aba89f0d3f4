//! The roles: with exactly what the files grant, everything works, and nothing else does.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;
use tokenferry::config::{Relation, Settings};
use tokio::process::Command;

use super::{kubernetes, text};
use crate::support::{
    bed::{Bed, Ran, ended},
    settings::try_settings,
};

const PASSWORD: &str = "chosen";

/// A source and a ledger in the care of the roles, and the configuration of the `CronJob`.
struct Guarded {
    bed: Bed,
    secrets: TempDir,
}

impl Guarded {
    /// Before the first run.
    async fn new() -> Self {
        let bed = Bed::new().await;
        bed.rows(1, 40).await;
        bed.sql(
            "alter table legacy_tokens rename to legacy_oauth_tokens; \
             alter table legacy_oauth_tokens add revoked_at timestamptz, add notes text; \
             analyze legacy_oauth_tokens",
        )
        .await;
        let guarded = Self {
            bed,
            secrets: tempfile::tempdir().unwrap(),
        };
        for file in ["source-grants.sql", "ledger-grants.sql"] {
            // They may be run again.
            guarded.grant(file).await;
            guarded.grant(file).await;
        }
        let api = &guarded.bed.api;
        guarded.secret("source-url", &guarded.url("source").await);
        guarded.secret("ledger-url", &guarded.url("ledger").await);
        guarded.secret("project-id", api.project_id());
        guarded.secret("management-key", api.management_key().reveal());
        guarded
    }

    fn secret(&self, name: &str, value: &str) {
        let path = self.secrets.path().join(name);
        fs::write(&path, value).unwrap();
        // As the manifest mounts it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }

    /// Runs one of the files as a superuser. Roles belong to the whole server, so this test has its own.
    async fn grant(&self, file: &str) {
        let mut sql = text(file);
        for role in ["source", "ledger", "report", "runtime"] {
            sql = sql.replace(&format!("tokenferry_{role}"), &self.bed.database.role(role));
        }
        self.bed.sql(&sql).await;
    }

    /// The URL of a role, with a password that it gets here.
    async fn url(&self, role: &str) -> String {
        let role = self.bed.database.role(role);
        self.bed
            .sql(&format!("alter role {role} password '{PASSWORD}'"))
            .await;
        self.bed.database.url_for(&role, PASSWORD, None)
    }

    fn settings(&self) -> Settings {
        try_settings(&kubernetes::configuration(&self.secrets)).unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let path = self.secrets.path().join("tokenferry.toml");
        fs::write(&path, kubernetes::configuration(&self.secrets)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        command
            .args(arguments)
            .arg("--config")
            .arg(path)
            .env("TOKENFERRY__API__BASE_URL", self.bed.api.base_url())
            .env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "10000")
            .kill_on_drop(true);
        ended(command.output()).await
    }

    /// `doctor` finds nothing to complain about, but that a server of the tests may be without TLS, and does
    /// not wait for the disk.
    async fn is_well(&self) {
        let ran = self.run(&["doctor", "--json"]).await.ended_with(0);
        let report = ran.json();
        let checks = report["checks"].as_array().unwrap();
        let wrong: Vec<&Value> = checks
            .iter()
            .filter(|check| {
                check["status"] != "ok" && check["name"] != "tls" && check["name"] != "durability"
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Everything that a schedule, and whoever looks after it, does.
    async fn works(&self) {
        self.is_well().await;
        for arguments in [
            &["migrate", "--dry-run", "--online", "--json"][..],
            &["migrate", "--json"],
            &["migrate", "--only-failed", "--json"],
            &["verify", "--json"],
            &["status", "--json"],
            &["show", "1", "--json"],
            &["failures"],
        ] {
            self.run(arguments).await.ended_with(0);
        }
        self.is_well().await;
    }

    /// A role is refused each of these.
    async fn may_not(&self, role: &str, statements: &[&str]) {
        let mut session = PgConnection::connect(&self.url(role).await).await.unwrap();
        // The roles' own defaults are a second lock; this is about the first.
        session
            .execute("set default_transaction_read_only = off")
            .await
            .unwrap();
        for statement in statements {
            let error = session
                .execute(AssertSqlSafe((*statement).to_owned()))
                .await
                .unwrap_err();
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {error}");
        }
    }
}

#[tokio::test]
async fn the_job_runs_under_its_roles_and_they_may_do_no_more() {
    let guarded = Guarded::new().await;
    guarded.works().await;
    assert_eq!(guarded.bed.api.stored_count(), 40);
    guarded
        .may_not(
            "source",
            &[
                "select notes from legacy_oauth_tokens",
                "select * from legacy_oauth_tokens",
                "update legacy_oauth_tokens set access_token = ''",
                "delete from legacy_oauth_tokens",
                "select from tokenferry.tokens",
                "select from tokenferry.token_rows",
                "create schema mine",
            ],
        )
        .await;
    guarded
        .may_not(
            "ledger",
            &["select from legacy_oauth_tokens", "create schema mine"],
        )
        .await;
}

#[tokio::test]
async fn whoever_only_looks_sees_all_but_the_key() {
    let guarded = Guarded::new().await;
    guarded.run(&["migrate", "--json"]).await.ended_with(0);
    guarded.grant("ledger-grants.sql").await;
    guarded.secret("ledger-url", &guarded.url("report").await);
    for arguments in [&["status", "--json"][..], &["failures"], &["show", "1", "--json"]] {
        guarded.run(arguments).await.ended_with(0);
    }
    guarded.run(&["migrate", "--json"]).await.ended_with(6);
    guarded
        .may_not(
            "report",
            &[
                "select from tokenferry.fingerprint_key",
                "update tokenferry.token_rows set state = 'committed'",
                "delete from tokenferry.runs",
                "create table tokenferry.mine ()",
                "select from legacy_oauth_tokens",
            ],
        )
        .await;
}

#[tokio::test]
async fn the_books_can_be_kept_without_owning_them() {
    let guarded = Guarded::new().await;
    // What the file says: the owner makes the tables, and sends nothing.
    guarded
        .run(&["migrate", "--dry-run", "--limit", "1", "--json"])
        .await
        .ended_with(0);
    guarded.grant("ledger-split-grants.sql").await;
    guarded.grant("ledger-split-grants.sql").await;
    assert_eq!(guarded.bed.api.stored_count(), 0);
    guarded.secret("ledger-url", &guarded.url("runtime").await);
    guarded.works().await;
    assert_eq!(guarded.bed.api.stored_count(), 40);
    guarded
        .may_not(
            "runtime",
            &[
                "create table tokenferry.mine ()",
                "alter table tokenferry.token_rows add mine text",
                "drop table tokenferry.findings",
                "truncate tokenferry.token_rows",
                "delete from tokenferry.token_rows",
                "update tokenferry.fingerprint_key set created_at = now()",
                "insert into tokenferry._sqlx_migrations select from tokenferry._sqlx_migrations",
                "select from legacy_oauth_tokens",
            ],
        )
        .await;
}

/// A role of the legacy program's, one that has nothing in the database, and what becomes of them.
#[tokio::test]
async fn who_has_nothing_in_the_ledgers_database_cannot_connect_to_it() {
    let guarded = Guarded::new().await;
    let bed = &guarded.bed;
    let program = bed.database.role("program");
    bed.sql(&format!(
        "create role {program} login; grant select on legacy_oauth_tokens to {program}"
    ))
    .await;
    let (stranger, _) = bed.database.create_guest().await;
    let refused = PgConnection::connect(&stranger).await.unwrap_err();
    let code = refused
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some("42501"), "{refused}");
    for file in [
        "source-grants.sql",
        "ledger-grants.sql",
        "ledger-split-grants.sql",
    ] {
        guarded.grant(file).await;
    }
    for role in ["source", "ledger", "report", "runtime", "program"] {
        PgConnection::connect(&guarded.url(role).await).await.unwrap();
    }
    // Whichever file was run first.
    let source = bed.database.role("source");
    bed.sql(&format!(
        "do $$ begin execute format('revoke connect on database %I from {source}', current_database()); end $$"
    ))
    .await;
    guarded.grant("source-grants.sql").await;
    PgConnection::connect(&guarded.url("source").await).await.unwrap();
}

/// Every column that is granted is asked for, and the other way round.
#[tokio::test]
async fn the_granted_columns_are_those_of_the_configuration() {
    let guarded = Guarded::new().await;
    let source = guarded.settings().source;
    let Relation::Table(table) = &source.relation else {
        panic!("a table");
    };
    assert_eq!(table.join("."), "public.legacy_oauth_tokens");
    let granted = guarded
        .bed
        .texts(&format!(
            "select column_name from information_schema.column_privileges where grantee = '{}'",
            guarded.bed.database.role("source")
        ))
        .await;
    let condition = source.condition.unwrap();
    let asked = kubernetes::configuration(&guarded.secrets);
    for column in &granted {
        let named = asked.contains(&format!("\"{column}\"")) || condition.contains(column.as_str());
        assert!(named, "{column} is granted and not asked for");
    }
    // The key and the condition's column are no fields.
    let distinct: BTreeSet<_> = granted.iter().collect();
    assert_eq!(distinct.len(), source.columns.len() + 2);
}
