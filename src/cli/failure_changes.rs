//! `failures --run A --since B`: what changed between the failures of two runs.

use std::io::{self, BufWriter, Write};

use anyhow::Context;

use super::{
    Exit,
    args::{FailuresArgs, Global},
    exit::UsageError,
    is_broken_pipe, load,
    paper::Paper,
    private_file,
};
use crate::{
    domain::{Mode, RunId},
    ledger::{LedgerReader, RunPair, RunReport},
    report::write_changes,
};

pub(super) async fn run(
    global: &Global,
    args: &FailuresArgs,
    run: RunId,
    since: RunId,
) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    if since >= run {
        return Err(UsageError(format!("--since {since} must be an earlier run than --run {run}")).into());
    }
    let later = known(&mut reports, run).await?;
    known(&mut reports, since).await?;
    let summary = &later.summary;
    let pair = RunPair {
        run,
        mode: summary.mode,
        // A dry run of a part of the rows has a stop reason.
        is_complete: summary.is_of_all
            && summary.status.starts_with("completed")
            && summary.stop_reason.is_none(),
        since,
    };
    let out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(
            private_file::create(path).with_context(|| format!("{} cannot be written", path.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let columns = Paper::Stdout.table_width();
    let changes = reports.failure_changes(pair);
    let written = write_changes(BufWriter::new(out), args.format, columns, changes).await;
    reports.close().await;
    let counts = match written {
        // A closed pipe means that the reader has seen enough.
        Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
        written => written?,
    };
    let count = |change: &str| counts.get(change).copied().unwrap_or_default();
    let unread = match count("not_read") {
        0 => String::new(),
        unread => format!(", {unread} not read by run {run}"),
    };
    eprintln!(
        "{} new, {} resolved, {} unchanged{unread}, from run {since} to run {run}",
        count("new"),
        count("resolved"),
        count("unchanged"),
    );
    Ok(Exit::Done)
}

/// Returns a run whose failures are known.
async fn known(reports: &mut LedgerReader, run: RunId) -> anyhow::Result<RunReport> {
    let report = reports
        .run(Some(run))
        .await?
        .ok_or_else(|| UsageError(format!("there is no run {run}")))?;
    let mode = report.summary.mode;
    if !matches!(mode, Mode::Migrate | Mode::DryRun) {
        let text = format!(
            "run {run} has the mode {}: only runs of `migrate`, with or without --dry-run, are compared",
            mode.as_str()
        );
        return Err(UsageError(text).into());
    }
    let (kept, failed) = (reports.kept_failures(run).await?, report.summary.tokens.failed);
    if kept < failed {
        let text = format!(
            "the ledger has only {kept} of the {failed} failures of run {run}: it keeps those of the last 50 runs, and none of runs \
             of earlier versions"
        );
        return Err(UsageError(text).into());
    }
    Ok(report)
}
