//! `runs`: every run of the migration.

use serde::Serialize;

use super::{Exit, args::Global, ledger_args::RunsArgs, load, print_json, print_lines};
use crate::{
    ledger::{LedgerReader, ListedRun},
    report::run_list,
};

/// The object that `runs --json` prints.
#[derive(Serialize)]
struct Printed<'a> {
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
        print_json(&Printed {
            migration: &access.migration,
            runs: &runs,
            more,
        })?;
    } else {
        print_lines(&run_list(&access.migration, &runs, more))?;
    }
    Ok(Exit::Done)
}
