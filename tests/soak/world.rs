//! Two databases that can be restarted one by one, the stand-in API, and the real program between them.

use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokenferry::{
    simulator::{FaultRates, Simulator, SimulatorHandle},
    temp_postgres::{Options, StopMode, TempPostgres},
};
use tokio::process::Command;

use crate::{migration_config::migration_config, process::Process};

pub(crate) struct World {
    pub(crate) source: Server,
    pub(crate) ledger: Server,
    pub(crate) api: SimulatorHandle,
    /// The configuration, and what every process printed.
    folder: TempDir,
    processes: u32,
}

/// A database server, and a pool that outlives its restarts.
pub(crate) struct Server {
    postgres: TempPostgres,
    pub(crate) pool: PgPool,
}

impl Server {
    async fn start() -> Self {
        let postgres = TempPostgres::start(Options::default())
            .await
            .expect("the soak restarts its databases, so it needs Postgres binaries on this machine");
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&postgres.url("postgres"))
            .await
            .unwrap();
        Self { postgres, pool }
    }

    pub(crate) async fn restart(&mut self, mode: StopMode) {
        self.postgres.restart(mode).await.unwrap();
    }

    fn url(&self) -> String {
        self.postgres.url("postgres")
    }

    async fn stop(self) {
        self.pool.close().await;
        self.postgres.stop().await.unwrap();
    }
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let (source, ledger) = tokio::join!(Server::start(), Server::start());
        let world = Self {
            source,
            ledger,
            api: Simulator::builder().seed(seed).start().await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
            processes: 0,
        };
        fs::write(world.config(), world.settings()).unwrap();
        world
    }

    /// The rates of a bad day. Each of the statuses leaves it open whether the request got through.
    pub(crate) fn rates() -> FaultRates {
        FaultRates {
            latency: Some(Duration::from_millis(2)..=Duration::from_millis(40)),
            error: 0.15,
            error_after_commit: 0.03,
            statuses: vec![500, 502, 503, 504, 521],
            cut_before_commit: 0.05,
            cut_after_commit: 0.05,
            unreadable: 0.03,
            storm: 0.003,
            storm_lasts: Duration::from_millis(500),
        }
    }

    fn settings(&self) -> String {
        // Few enough attempts for some batches to be deferred, and for some outcomes to stay unknown at
        // first.
        let lines = format!(
            r#"
            migration = "soak"
            source.url = "{}"
            source.page_size = 500
            source.columns.external_identifier = "external_id"
            ledger.url = "{}"
            api.timeout = "1s"
            api.rate_limit.requests = 60
            api.retry.max_attempts = 4
            api.retry.initial_interval = "10ms"
            api.retry.max_interval = "100ms"
            batch.max_tokens = 40
            batch.concurrency = 8
            stop.after_unreachable = "20s"
            "#,
            self.source.url(),
            self.ledger.url()
        );
        migration_config(self.api.base_url(), &lines)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("tokenferry.toml")
    }

    /// Has the ledger made, and from then on keeps which rows were in batches that may be stored or not: the
    /// ledger forgets that once it knows more.
    pub(crate) async fn open_ledger(&mut self) {
        self.spawn(&["migrate", "--dry-run"], None).ended().await;
        sqlx::raw_sql(
            "create table public.unresolved (source_key text, batch bigint);
             create function public.note_unresolved() returns trigger language plpgsql as $$ begin
                 insert into public.unresolved values (new.source_key, new.unresolved_batch);
                 return null;
             end $$;
             create trigger note_unresolved after insert or update on tokenferry.former_places
                 for each row when (new.unresolved_batch is not null) execute function public.note_unresolved()",
        )
        .execute(&self.ledger.pool)
        .await
        .unwrap();
    }

    /// Starts `migrate`.
    pub(crate) fn migrate(&mut self) -> Process {
        self.spawn(&["migrate"], None)
    }

    /// Starts to take a run back, and has it killed where it comes by that place.
    #[cfg(feature = "failpoints")]
    pub(crate) fn rollback(&mut self, run: i64, kill_at: Option<&str>) -> Process {
        self.spawn(&["rollback", "--yes", "--run", &run.to_string()], kill_at)
    }

    fn spawn(&mut self, command: &[&str], kill_at: Option<&str>) -> Process {
        self.processes += 1;
        let path = |kind: &str| self.folder.path().join(format!("{}.{kind}", self.processes));
        let (stdout, log) = (path("json"), path("log"));
        let child = Command::new(env!("CARGO_BIN_EXE_tokenferry"))
            .args(command)
            .args(["--json", "-v", "--log-format", "text", "--config"])
            .arg(self.config())
            .env("DESCOPE_PROJECT_ID", self.api.project_id())
            .env("DESCOPE_MANAGEMENT_KEY", self.api.management_key().reveal())
            .env_remove("RUST_LOG")
            .envs(kill_at.map(|place| ("TOKENFERRY_KILL_AT", place)))
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Process::new(child, stdout, log)
    }

    /// The batches of which nothing could tell whether they were stored: these may have been written twice.
    pub(crate) fn unprovable_batches(&self) -> Vec<i64> {
        let logs = (1..=self.processes).map(|number| self.folder.path().join(format!("{number}.log")));
        let lines: Vec<String> = logs
            .flat_map(|log| {
                fs::read_to_string(log)
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        lines
            .iter()
            .filter(|line| line.contains("outcome=NoProof") || line.contains("its end is sent again"))
            .filter_map(|line| {
                let id = line.split("batch_id=").nth(1)?;
                id.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            })
            .collect()
    }

    /// Keeps what the processes printed, for whoever has to find out what went wrong.
    pub(crate) fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Tokens that the API stored, repetitions included.
    pub(crate) fn writes(&self) -> u64 {
        self.api.writes().values().sum()
    }

    pub(crate) async fn stop(self) {
        self.api.shutdown().await;
        self.source.stop().await;
        self.ledger.stop().await;
    }
}
