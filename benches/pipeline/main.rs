//! The whole pipeline: from a Postgres table to an API that does nothing but read.
//!
//! First run, reruns and a slow API, each compared with a binary `COPY` of the same table in the same round:
//! that is what this machine's Postgres gives out at all. Then the use of a quota, against the strict
//! stand-in API.
//!
//! Every measured program, and the API it talks to, is a process of its own: figures of CPU and memory are
//! its alone. A run leaves nothing to be done at the end of its measurement.

mod cost;
mod database;
mod measured;
mod migration;
#[path = "../../tests/it/support/migration_config.rs"]
mod migration_config;
mod null_api;
mod peers;
mod postgres_cpu;
mod quota;
mod report;
mod rounds;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use database::Database;
use report::Report;
use rounds::Rounds;

/// Measure the whole pipeline and compare it with COPY
#[derive(Debug, Parser)]
struct Cli {
    /// Rows of the table
    #[arg(long, default_value_t = 200_000)]
    rows: u64,

    /// A Postgres database to use (`bench` schemas in it are dropped) [default: a scratch server]
    #[arg(long)]
    database_url: Option<String>,

    /// Rounds, of which the median counts [default: 3, and 1 above 500,000 rows]
    #[arg(long)]
    rounds: Option<u32>,

    /// Seconds under a quota; 0 leaves that out
    #[arg(long, default_value_t = 10)]
    quota_seconds: u32,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,

    #[command(subcommand)]
    role: Option<Role>,
}

// The argument by which this program measures another one. As documentation, it would be the help of all.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    NullApi { delay_ms: u64 },
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
        Some(Role::NullApi { delay_ms }) => null_api::serve(*delay_ms),
        Some(Role::Measure { command }) => measured::measure(command),
    }
}

async fn bench(cli: &Cli) -> anyhow::Result<()> {
    let load = report::load_average();
    let database = Database::start(cli.database_url.clone()).await?;
    eprintln!("filling a table with {} rows of about 1.4 KB", cli.rows);
    database.fill(cli.rows).await?;
    let rounds = cli
        .rounds
        .unwrap_or(if cli.rows > 500_000 { 1 } else { 3 })
        .max(1);
    let figures = Rounds::prepare(&database, cli.rows).await?.run(rounds).await?;
    Report::new(cli.rows, figures).print(&load);
    if cli.quota_seconds > 0 {
        report::print_quota(&quota::run(&database, cli.quota_seconds, cli.rows).await?);
    }
    database.stop().await
}
