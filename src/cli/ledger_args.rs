//! Arguments of commands that list what the ledger holds, or acknowledge it.

use std::path::PathBuf;

use clap::Args;

use crate::{domain::FailureFilter, report::ExportFormat};

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

/// Options of `failures` that acknowledge.
#[derive(Debug, Args)]
#[command(next_help_heading = "Acknowledging")]
pub struct AcknowledgeArgs {
    /// Accept what failed last, as it is: exit 3 is then only for other failures. Ends for a row that changes
    /// or fails with another code
    #[arg(
        long, group = "acknowledging", requires = "reason",
        conflicts_with_all = ["run", "warnings", "superseded", "format", "output"]
    )]
    pub acknowledge: bool,
    /// Take acknowledgements back
    #[arg(
        long, group = "acknowledging",
        conflicts_with_all = ["run", "warnings", "superseded", "format", "output"]
    )]
    pub unacknowledge: bool,
    /// With --acknowledge or --unacknowledge: only failures with this code
    #[arg(long, value_name = "CODE", requires = "acknowledging", conflicts_with = "key")]
    pub code: Option<String>,
    /// With --acknowledge or --unacknowledge: only the row with this key
    #[arg(long, value_name = "KEY", requires = "acknowledging")]
    pub key: Option<String>,
    /// With --acknowledge: why they are accepted
    #[arg(long, value_name = "TEXT", requires = "acknowledge", value_parser = sentence)]
    pub reason: Option<String>,
}

/// A reason stands in summaries and lists.
const LONGEST_REASON: usize = 300;

fn sentence(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("it must not be empty".to_owned()),
        1..=LONGEST_REASON => Ok(text.to_owned()),
        _ => Err(format!("it must have at most {LONGEST_REASON} characters")),
    }
}

impl AcknowledgeArgs {
    /// Returns true if the command changes acknowledgements, and lists nothing.
    pub(super) fn is_change(&self) -> bool {
        self.acknowledge || self.unacknowledge
    }

    pub(super) fn filter(&self) -> FailureFilter {
        FailureFilter {
            code: self.code.clone(),
            key: self.key.clone(),
        }
    }
}
