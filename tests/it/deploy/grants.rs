//! The roles: with exactly what the files grant, everything works, and nothing else does.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokenferry::config::{Relation, Settings};
use tokio::process::Command;

use super::kubernetes;
use crate::support::{
    bed::{Bed, Ran, ended},
    server::announce,
    settings::try_settings,
};

const PASSWORD: &str = "chosen";

/// psql from PATH, or the newest of those that Debian keeps elsewhere.
fn psql_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut elsewhere: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    elsewhere.sort();
    std::env::split_paths(&path)
        .chain(elsewhere.into_iter().rev())
        .map(|folder| folder.join("psql"))
        .find(|program| program.is_file())
}

pub(super) fn has_psql() -> bool {
    let is_there = psql_program().is_some();
    if !is_there {
        announce("no psql on this machine: the grants are not tested");
    }
    is_there
}

/// Runs a file with these names.
pub(super) async fn psql(bed: &Bed, file: &str, names: &[(&str, String)]) {
    let mut command = Command::new(psql_program().unwrap());
    command.args(["--no-psqlrc", "--quiet"]).arg(bed.database.url());
    for (name, value) in names {
        command.arg("--variable").arg(format!("{name}={value}"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy");
    let output = command
        .arg("--file")
        .arg(folder.join(file))
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A source and a ledger in the care of the roles, and the configuration of the `CronJob`.
struct Guarded {
    bed: Bed,
    secrets: TempDir,
}

impl Guarded {
    /// Before the first run; `None` if nothing can run the files.
    async fn new() -> Option<Self> {
        if !has_psql() {
            return None;
        }
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
        Some(guarded)
    }

    fn secret(&self, name: &str, value: &str) {
        let path = self.secrets.path().join(name);
        fs::write(&path, value).unwrap();
        // As the manifest mounts it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }

    /// Runs one of the files as a superuser. Roles belong to the whole server, so this test has its own.
    async fn grant(&self, file: &str) {
        let role = |of| self.bed.database.role(of);
        let names = match file {
            "source-grants.sql" => vec![("role", role("source"))],
            "ledger-grants.sql" => vec![("role", role("ledger")), ("report", role("report"))],
            _ => vec![("role", role("runtime"))],
        };
        psql(&self.bed, file, &names).await;
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
    let Some(guarded) = Guarded::new().await else {
        return;
    };
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
    let Some(guarded) = Guarded::new().await else {
        return;
    };
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
    let Some(guarded) = Guarded::new().await else {
        return;
    };
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
    let Some(guarded) = Guarded::new().await else {
        return;
    };
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
    let Some(guarded) = Guarded::new().await else {
        return;
    };
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
