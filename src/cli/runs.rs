//! `runs`: every run of the migration.

use clap::Args;
use serde::Serialize;

use super::{Exit, args::Global, load, print_json, print_lines};
use crate::{
    ledger::{LedgerReader, ListedRun},
    report::run_list,
};

/// Options of `runs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only the ledger. `status --run ID` shows more of a run, `failures --run ID` what failed in it.\n\n\
    Examples:\n  \
      tokenferry runs              the last 20 runs, newest first\n  \
      tokenferry runs --json       the same for scripts\n\n\
    Ends with 0, also if there is no run yet, 2 if there is no ledger yet, 6 if the ledger's database does not respond."
)]
pub struct RunsArgs {
    /// Show at most N runs
    #[arg(
        long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000)
    )]
    pub limit: i64,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// The object that `runs --json` prints.
#[derive(Serialize)]
struct Runs<'a> {
    migration: &'a str,
    runs: &'a [ListedRun],
    /// The number of earlier runs.
    more: i64,
}

pub(super) async fn run(global: &Global, args: &RunsArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let (runs, more) = reports.runs(args.limit).await?;
    reports.close().await;
    if args.json {
        print_json(&Runs {
            migration: &access.migration,
            runs: &runs,
            more,
        })?;
    } else {
        print_lines(&run_list(&access.migration, &runs, more))?;
    }
    Ok(Exit::Done)
}
