//! The time from the restart of a killed migration to its first request: with a thousand rows settled, and
//! with a million. It must not grow with the number of settled rows.

use std::{io::Write, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::NamedTempFile;
use tokenferry::{
    simulator::{Barrier, Fault, Simulator, SimulatorHandle},
    temp_postgres::{self, TempServer},
};
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

const SIZES: [u32; 2] = [1_000, 1_000_000];
const RUNS: usize = 5;
/// Two batches: fewer would not fill the first.
const PENDING: u32 = 200;
/// The ratio that may be noise.
const MOST_RATIO: f64 = 1.5;
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let postgres = temp_postgres::any(temp_postgres::Options::default()).await?;
    eprintln!("{}", postgres.describe());
    let mut medians = Vec::new();
    println!("from the start of the process to its first upload");
    for settled in SIZES {
        let interrupted = Interrupted::prepare(&postgres, settled).await?;
        let mut seconds = Vec::new();
        for _ in 0..RUNS {
            seconds.push(interrupted.resume().await?.as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[RUNS / 2];
        let (least, most) = (seconds[0] * 1e3, seconds[RUNS - 1] * 1e3);
        println!(
            "  {settled:>9} rows settled{:>10.1} ms   ({RUNS} runs: {least:.1} to {most:.1} ms)",
            median * 1e3
        );
        medians.push(median);
    }
    let ratio = medians[1] / medians[0];
    let verdict = if ratio <= MOST_RATIO { "reached" } else { "MISSED" };
    println!("  ratio {ratio:>26.2}      at most {MOST_RATIO}: {verdict}");
    postgres.stop().await?;
    Ok(())
}

/// A migration that was ended shortly before its last rows.
struct Interrupted {
    settled: u32,
    url: String,
}

impl Interrupted {
    /// A real run makes the ledger, and settles the first row; the others are settled by SQL. They are not
    /// read again.
    async fn prepare(postgres: &TempServer, settled: u32) -> anyhow::Result<Self> {
        let name = format!("resume_{settled}");
        postgres.create_database(&name).await?;
        let interrupted = Self {
            settled,
            url: postgres.url(&name),
        };
        interrupted
            .sql(
                "create table legacy_tokens (id bigint primary key, provider text not null, user_id text not null,
                        access_token text not null, expires_at timestamptz, updated_at timestamptz not null)",
            )
            .await?;
        interrupted.fill(1, 1).await?;
        let api = Simulator::builder().start().await?;
        let config = interrupted.config(&api)?;
        let ended = Self::migrate(&config).status().await?;
        ensure!(ended.success(), "the first run ended with {ended}");
        api.shutdown().await;

        interrupted.fill(2, settled + PENDING).await?;
        interrupted
            .sql(&format!(
                "insert into tokenferry.token_rows (migration, source_key, state, app_id, user_id, destination, source_version,
                        fingerprint, batch_id, run_id)
                 select migration, id::text, state, app_id, 'user-' || id, decode(md5(id::text), 'hex'), source_version,
                        sha256(id::text::bytea), batch_id, run_id
                 from tokenferry.tokens, generate_series(2, {settled}) as id"
            ))
            .await?;
        interrupted
            .sql(&format!(
                "update tokenferry.runs set cursor = '{settled}', cursor_committed = {settled}, tokens_selected = {settled},
                        tokens_committed = {settled}"
            ))
            .await?;
        interrupted.sql("vacuum analyze").await?;
        interrupted.sql("checkpoint").await?;
        Ok(interrupted)
    }

    /// Starts the program, and ends it when its first upload has arrived.
    async fn resume(&self) -> anyhow::Result<Duration> {
        self.sql(
            "delete from tokenferry.batches where state = 'in_flight';
             update tokenferry.runs set status = 'interrupted', finished_at = now()",
        )
        .await?;
        let api = Simulator::builder().start().await?;
        let gate = Barrier::new();
        api.script([Fault::HoldBeforeCommit(gate.clone())]);
        let config = self.config(&api)?;
        let begin = Instant::now();
        let mut process = Self::migrate(&config).spawn()?;
        let arrived = timeout(PATIENCE, gate.reached()).await;
        let time = begin.elapsed();
        process.kill().await?;
        arrived.context("no request came")?;
        ensure!(
            api.requests().batch_sizes() == [100],
            "the first request was to hold the first pending rows: {:?}",
            api.requests().all()
        );
        api.shutdown().await;
        ensure!(
            self.number("select count(*) from tokenferry.runs").await? == 1,
            "it was to go on, and began anew"
        );
        Ok(time)
    }

    async fn fill(&self, from: u32, to: u32) -> anyhow::Result<()> {
        self.sql(&format!(
            "insert into legacy_tokens
             select id, 'google', 'user-' || id, 'access-' || id || repeat('x', 200), now() + interval '1 day', now()
             from generate_series({from}, {to}) as id"
        ))
        .await
    }

    fn config(&self, api: &SimulatorHandle) -> anyhow::Result<NamedTempFile> {
        let mut config = tempfile::Builder::new().suffix(".toml").tempfile()?;
        write!(
            config,
            r#"
            migration = "resume"
            [source]
            url = "{}"
            table = "legacy_tokens"
            key = "id"
            [source.columns]
            app = "provider"
            user_id = "user_id"
            access_token = "access_token"
            access_token_expiry = "expires_at"
            updated_at = "updated_at"
            [api]
            base_url = "{}"
            project_id = "{}"
            management_key = "{}"
            [batch]
            max_tokens = 100
            concurrency = 1
            "#,
            self.url,
            api.base_url(),
            api.project_id(),
            api.management_key().reveal(),
        )?;
        Ok(config)
    }

    fn migrate(config: &NamedTempFile) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        command
            .args(["migrate", "--quiet", "--config"])
            .arg(config.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn sql(&self, sql: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        connection
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .with_context(|| format!("with {} rows settled", self.settled))?;
        Ok(connection.close().await?)
    }

    async fn number(&self, sql: &str) -> anyhow::Result<i64> {
        let mut connection = PgConnection::connect(&self.url).await?;
        Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await?)
    }
}
