//! A source, a ledger and a stand-in API around the real program.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, Row};
use std::{
    collections::HashMap,
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokenferry::simulator::{Destination, Simulator, SimulatorHandle, StoredToken};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::support::{database::TestDatabase, migration_config::migration_config};

/// The password-like text that every token of a test begins with, so that a leak is found by looking for it.
pub(crate) const TOKEN: &str = "s3cr3t-t0ken";

/// The ordinary settings of a bed: all columns, and pauses that hardly wait.
const ORDINARY: &str = r#"
    source.page_size = 500
    source.columns.access_token_type = "token_type"
    source.columns.external_identifier = "external_id"
    source.columns.id_token = "id_token"
    source.columns.granted_by = "granted_by"
    api.timeout = "1s"
    api.rate_limit.requests = 100000
    api.retry.initial_interval = "5ms"
    api.retry.max_interval = "50ms"
    batch.max_tokens = 100
    stop.after_unreachable = "10s"
"#;

/// One test's own world. The legacy table is `legacy_tokens` in its database, the ledger is in schema
/// `tokenferry`.
pub(crate) struct Bed {
    pub(crate) database: TestDatabase,
    pub(crate) pool: PgPool,
    pub(crate) api: SimulatorHandle,
    folder: TempDir,
    extra: String,
}

/// The result of a command of the program.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Fails with everything that was printed if the code is another one.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Waits for a process that should end soon.
pub(crate) async fn ended(process: impl Future<Output = std::io::Result<Output>>) -> Ran {
    let output = tokio::time::timeout(Duration::from_secs(60), process).await;
    output
        .expect("the program should have ended by now")
        .unwrap()
        .into()
}

/// Batches, but not the tokens that some of them still hold.
pub(crate) const BATCHES: &str = "select (id, run_id, parent_id, subject, state, token_count, attempts, http_status, error_code, reason, \
                                          submitted_at, finished_at, nonce)::text from tokenferry.batches order by id";

impl Bed {
    /// An empty legacy table, a stand-in that never fails, and a pacer that hardly waits.
    pub(crate) async fn new() -> Self {
        Self::with(Simulator::builder()).await
    }

    pub(crate) async fn with(simulator: Simulator) -> Self {
        let database = TestDatabase::create().await;
        database
            .execute(
                "create table legacy_tokens (id bigint primary key, provider text, user_id text, tenant_id text, \
                 access_token text, refresh_token text, expires_at timestamptz, token_type text, scope text, \
                 external_id text, id_token text, granted_by text, updated_at timestamptz not null default now())",
            )
            .await;
        let pool = database.pool().await;
        let api = simulator.start().await.unwrap();
        Self {
            database,
            pool,
            api,
            folder: tempfile::tempdir().unwrap(),
            extra: String::new(),
        }
    }

    /// Settings that are laid over the ordinary ones, as `section.key = value` lines.
    pub(crate) fn set(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.extra);
        self
    }

    pub(crate) async fn sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// Rows `from..=to`: every tenth is a tenant's, the others are users'.
    pub(crate) async fn rows(&self, from: i64, to: i64) {
        self.sql(&format!(
            "insert into legacy_tokens (id, provider, user_id, tenant_id, access_token, refresh_token, expires_at, \
                    token_type, scope, granted_by)
             select n, 'google', case when n % 10 > 0 then 'user-' || n end, case when n % 10 = 0 then 'tenant-' || n end,
                    '{TOKEN}-access-' || n, '{TOKEN}-refresh-' || n, now() + interval '1 day', 'Bearer',
                    'calendar email', 'admin'
             from generate_series({from}, {to}) n"
        ))
        .await;
    }

    /// Rows that are all users'.
    pub(crate) async fn user_rows(&self, from: i64, to: i64) {
        self.sql(&format!(
            "insert into legacy_tokens (id, provider, user_id, access_token, expires_at)
             select n, 'google', 'user-' || n, '{TOKEN}-access-' || n, now() + interval '1 day'
             from generate_series({from}, {to}) n"
        ))
        .await;
    }

    /// The first column of a query, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.get::<Option<String>, _>(0).unwrap_or_default())
            .collect()
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Runs a command that is killed when it reaches `place` for the `nth` time, and waits until the database
    /// has noticed. Until then, the next command would fail because another one is active.
    pub(crate) async fn killed_at(&self, arguments: &[&str], place: &str, nth: u32) -> ExitStatus {
        let mut command = self.command(arguments);
        let output = command
            .env("TOKENFERRY_KILL_AT", format!("{place}={nth}"))
            .output()
            .await
            .unwrap();
        let sessions = "select count(*) from pg_stat_activity
                        where datname = current_database() and application_name like 'tokenferry %'";
        let noticed = timeout(Duration::from_secs(30), async {
            while self.number(sessions).await > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        });
        noticed.await.expect("the database should have noticed by now");
        output.status
    }

    /// Runs `migrate` until it stops itself at `place`, as a process does that is suspended there.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn paused_at(&self, place: &str, nth: u32) -> Child {
        Self::pause(self.command(&["migrate", "--json", "-v"]), place, nth).await
    }

    /// The same with a command of the test's own.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn pause(mut command: Command, place: &str, nth: u32) -> Child {
        let child = command
            .env("TOKENFERRY_PAUSE_AT", format!("{place}={nth}"))
            .spawn()
            .unwrap();
        let stat = format!("/proc/{}/stat", child.id().unwrap());
        let paused = timeout(Duration::from_secs(30), async {
            // The state stands behind the name in parentheses: T is stopped.
            while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
                sleep(Duration::from_millis(5)).await;
            }
        });
        paused.await.expect("the process should have stopped by now");
        child
    }

    /// Ends every session that the program has in the database, as an administrator or a lost network does.
    pub(crate) async fn end_sessions(&self) {
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'tokenferry %'",
        )
        .await;
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        let path = self.folder.path().join("tokenferry.toml");
        let config = migration_config(self.api.base_url(), &format!("{ORDINARY}\n{}", self.extra));
        std::fs::write(&path, config).unwrap();
        path
    }

    /// The program with this bed's configuration and credentials, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env("SOURCE_DATABASE_URL", self.database.url())
            .env("DESCOPE_PROJECT_ID", self.api.project_id())
            .env("DESCOPE_MANAGEMENT_KEY", self.api.management_key().reveal())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        ended(self.command(arguments).output()).await
    }

    /// `migrate --json`, with everything logged.
    pub(crate) async fn migrate(&self) -> Ran {
        self.run(&["migrate", "--json", "-vv"]).await
    }

    /// `migrate`, started and left to itself.
    pub(crate) fn spawn_migrate(&self) -> Child {
        self.command(&["migrate", "--json", "-v"]).spawn().unwrap()
    }

    /// Waits until `count` tokens have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        tokio::time::timeout(Duration::from_secs(30), async {
            while self.api.stored_count() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("more should have arrived by now");
    }

    /// The ledger's tokens and batches, and all runs but those of one mode. It makes no difference whether a
    /// token is in its batch or in a row of its own.
    pub(crate) async fn ledger_without(&self, mode: &str) -> Vec<String> {
        let mut said = self.texts(BATCHES).await;
        for table in ["tokens", "former_places", "fingerprint_key"] {
            said.extend(
                self.texts(&format!("select t::text from tokenferry.{table} t order by 1"))
                    .await,
            );
        }
        said.extend(
            self.texts(&format!(
                "select r::text from tokenferry.runs r where mode <> '{mode}' order by id"
            ))
            .await,
        );
        said
    }

    /// Every table of the ledger as text, for looking for what must not be there.
    pub(crate) async fn ledger_dump(&self) -> String {
        let tables = self
            .texts("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'tokenferry'")
            .await;
        let mut dump = String::new();
        for table in tables {
            dump += &self
                .texts(&format!("select t::text from {table} t"))
                .await
                .join("\n");
        }
        dump
    }

    /// The next run ends with `count` tokens committed, and none of them was written twice.
    pub(crate) async fn assert_gone_on_with(&self, count: usize) {
        let next = self.migrate().await.ended_with(0).json();
        assert_eq!(
            (&next["resumed"], &next["tokens"]["committed"]),
            (&Value::Bool(true), &Value::from(count))
        );
        self.assert_arrived_once().await;
    }

    /// Holds the stand-in's tokens against the newest source row of each destination, and sees that none was
    /// written twice.
    pub(crate) async fn assert_arrived_once(&self) {
        self.assert_arrived().await;
        for (destination, count) in self.api.writes() {
            assert_eq!(count, 1, "{destination:?} was written {count} times");
        }
    }

    /// Holds the stand-in's tokens against the newest source row of each destination.
    pub(crate) async fn assert_arrived(&self) {
        let rows = sqlx::query(
            "select distinct on (provider, user_id, tenant_id, external_id, scopes) provider, user_id, tenant_id, external_id,
                    access_token, refresh_token, coalesce(floor(extract(epoch from expires_at)), 0)::bigint, scopes
             from (select *, array(select distinct s from regexp_split_to_table(scope, '[ ,]+') s where s <> '' order by 1)
                             as scopes
                   from legacy_tokens) rows
             order by provider, user_id, tenant_id, external_id, scopes, updated_at desc, id desc",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let stored: HashMap<Destination, StoredToken> = self
            .api
            .stored()
            .into_iter()
            .map(|token| (token.destination.clone(), token))
            .collect();
        assert_eq!((self.api.stored_count(), stored.len()), (rows.len(), rows.len()));
        for row in rows {
            let destination = Destination {
                app_id: row.get(0),
                user_id: row.get(1),
                tenant_id: row.get(2),
                external_identifier: row.get(3),
                scopes: row.get::<Vec<String>, _>(7).into_iter().collect(),
            };
            let stored = stored
                .get(&destination)
                .unwrap_or_else(|| panic!("{destination:?} did not arrive"));
            assert_eq!(
                stored.exposed_access_token(),
                row.get::<Option<&str>, _>(4),
                "{destination:?}"
            );
            assert_eq!(
                stored.exposed_refresh_token(),
                row.get::<Option<&str>, _>(5),
                "{destination:?}"
            );
            assert_eq!(
                i64::from(stored.access_token_expiry),
                row.get::<i64, _>(6),
                "{destination:?}"
            );
        }
    }
}
