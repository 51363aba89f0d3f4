//! `outcomes`: the state of every row.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;

use super::{Exit, args::Global, is_broken_pipe, load, private_file};
use crate::{
    ledger::LedgerReader,
    report::{ExportFormat, write_outcomes},
};

/// Options of `outcomes`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry outcomes --format csv --output outcomes.csv
  tokenferry outcomes --format json | jq -r 'select(.state == \"superseded\").source_key'

Lists every row that has an outcome, as it is when the command starts and in no order: key, destination, state, code, reason, \
    run and time. No token is shown. Needs little memory, however many rows there are.

Ends with 0, also if its reader closes the pipe early, 1 if the file cannot be written, 2 if there is no ledger yet, 6 if the \
    ledger's database does not respond.")]
pub struct OutcomesArgs {
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: ExportFormat,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, args: &OutcomesArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(
            private_file::create(path).with_context(|| format!("{} cannot be written", path.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let written = write_outcomes(BufWriter::new(out), args.format, reports.outcomes()).await;
    reports.close().await;
    match written {
        // A closed pipe means that the reader has seen enough.
        Err(error) if is_broken_pipe(&error) => {}
        written => eprintln!("{} rows have an outcome", written?),
    }
    Ok(Exit::Done)
}
