//! The whole pipeline: from a Postgres table to an API that does nothing but read.
//!
//! Reads the same table with `COPY` in the same run, so that the figures can be held against what this
//! machine's Postgres gives out at all. Then, against the strict stand-in API, how much of a quota is used.
//!
//! Every measured migration, and the API it talks to, is a process of its own: figures of CPU and memory are
//! its alone.

mod database;
mod measured;
mod migration;
#[path = "../../tests/it/support/migration_config.rs"]
mod migration_config;
mod null_api;
mod quota;

use std::ffi::OsString;

use anyhow::ensure;
use clap::{Parser, Subcommand};

use database::Database;
use measured::Measured;
use migration::Target;
use null_api::NullApi;

/// The targets of docs/performance.md.
const LEAST_RATIO: f64 = 0.4;
const MOST_MIB: f64 = 64.0;
const MOST_CPU_SECONDS: f64 = 0.8;
const LEAST_SHARE: f64 = 0.98;

#[derive(Debug, Parser)]
struct Cli {
    /// Rows of the table
    #[arg(long, default_value_t = 200_000)]
    rows: u64,

    /// A Postgres database to use (`bench` schemas in it are dropped) [default: a scratch server]
    #[arg(long)]
    database_url: Option<String>,

    /// Migrations to measure, of which the fastest counts [default: 3, and 1 above 500,000 rows]
    #[arg(long)]
    runs: Option<u32>,

    /// Seconds under a quota; 0 leaves that out
    #[arg(long, default_value_t = 10)]
    quota_seconds: u32,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,

    #[command(subcommand)]
    role: Option<Role>,
}

/// The argument by which this program measures another one.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    NullApi,
    #[command(hide = true)]
    Measure { command: Vec<OsString> },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match &cli.role {
        None => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(bench(&cli)),
        Some(Role::NullApi) => null_api::serve(),
        Some(Role::Measure { command }) => measured::measure(command),
    }
}

async fn bench(cli: &Cli) -> anyhow::Result<()> {
    let database = Database::start(cli.database_url.clone()).await?;
    eprintln!("filling a table with {} rows of about 1.4 KB", cli.rows);
    database.fill(cli.rows).await?;
    let runs = cli.runs.unwrap_or(if cli.rows > 500_000 { 1 } else { 3 }).max(1);

    let mut copy_seconds = f64::INFINITY;
    for _ in 0..runs.max(3) {
        copy_seconds = copy_seconds.min(database.copy_out().await?);
    }

    let api = NullApi::start().await?;
    let mut fastest: Option<Measured> = None;
    let mut peak_bytes = 0;
    for run in 0..runs {
        let schema = format!("bench_ledger_{run}");
        let measured = migration::run(&database, &schema, &Target::open(api.base_url())).await?;
        let committed = database.committed(&schema).await?;
        ensure!(
            committed == cli.rows && measured.tokens("committed") == Some(cli.rows),
            "of {} tokens the ledger holds {committed} as committed; the run reports {}",
            cli.rows,
            measured.report,
        );
        eprintln!(
            "run {}: {:.2} s, {:.2} s CPU ({:.2} user, {:.2} system), {:.1} MiB",
            run + 1,
            measured.wall_seconds,
            measured.cpu_seconds(),
            measured.user_seconds,
            measured.system_seconds,
            mib(measured.peak_bytes),
        );
        peak_bytes = peak_bytes.max(measured.peak_bytes);
        if fastest
            .as_ref()
            .is_none_or(|fastest| measured.wall_seconds < fastest.wall_seconds)
        {
            fastest = Some(measured);
        }
    }
    drop(api);
    let disk = database.disk_bytes().await?;
    if let Some(fastest) = fastest {
        print(cli.rows, copy_seconds, &fastest, peak_bytes, disk);
    }
    if cli.quota_seconds > 0 {
        let used = quota::run(&database, cli.quota_seconds, cli.rows).await?;
        println!(
            "under a quota of {} requests a second, for {:.1} s",
            quota::RATE,
            used.seconds
        );
        line(
            "answers 429",
            used.rate_limited.to_string(),
            "none",
            used.rate_limited == 0,
        );
        let share = format!("{:.1} %", used.share * 100.0);
        line(
            "share of the quota used",
            share,
            "at least 98 %",
            used.share >= LEAST_SHARE,
        );
    }
    database.stop().await
}

fn print(rows: u64, copy_seconds: f64, ours: &Measured, peak_bytes: u64, disk: (u64, u64)) {
    let rows = rows as f64;
    let rate = |seconds: f64| format!("{:.0} rows/s", rows / seconds);
    let ratio = copy_seconds / ours.wall_seconds;
    let cpu = ours.cpu_seconds() / rows * 100_000.0;
    println!();
    println!("{rows} rows, batches of 500, 8 in flight, ledger, screening and fingerprints on, no quota");
    println!("  {:<28}{:>16}", "psql -c 'COPY … TO STDOUT'", rate(copy_seconds));
    println!("  {:<28}{:>16}", "tokenferry", rate(ours.wall_seconds));
    line(
        "ratio",
        format!("{ratio:.2}"),
        "at least 0.4, aiming for 0.6",
        ratio >= LEAST_RATIO,
    );
    let peak = mib(peak_bytes);
    line(
        "peak memory",
        format!("{peak:.1} MiB"),
        "under 64 MiB",
        peak < MOST_MIB,
    );
    line(
        "CPU for 100,000 tokens",
        format!("{cpu:.2} s"),
        "under 0.8 s",
        cpu < MOST_CPU_SECONDS,
    );
    println!("  {:<28}{:>16}", "time", format!("{:.2} s", ours.wall_seconds));
    println!(
        "  {:<28}{:>16}",
        "disk: the table",
        format!("{:.0} MiB", mib(disk.0))
    );
    println!(
        "  {:<28}{:>16}",
        "disk: a ledger",
        format!("{:.0} MiB", mib(disk.1))
    );
    println!();
}

fn line(what: &str, value: impl std::fmt::Display, target: &str, reached: bool) {
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("  {what:<28}{value:>16}   {target}: {verdict}");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
