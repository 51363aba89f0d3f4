//! `status`: shows a run and where the migration stands.

use std::fmt::Write as _;

use super::{
    Exit,
    args::{Global, StatusArgs},
    exit::UsageError,
    load, print_json, print_lines,
};
use crate::{
    domain::visible,
    ledger::{LedgerReader, LockKind},
    report::Summary,
};

pub(super) async fn run(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let report = reports.run(args.run).await?;
    // A running rollback always has some.
    let pending_deletions = match reports.pending_deletions().await? {
        Some(pending) if !reports.is_held(LockKind::Migration).await? => Some(pending),
        _ => None,
    };
    reports.close().await;
    let Some(report) = report else {
        let text = format!(
            "migration \"{}\" has no run yet: `tokenferry migrate` starts one",
            visible(&access.migration)
        );
        return Err(UsageError(text).into());
    };
    let (started_at, finished_at) = (report.started_at, report.finished_at);
    let (progressed_at, holder, in_flight) = (
        report.progressed_at,
        visible(&report.holder),
        report.batches_in_flight,
    );
    let mut summary = Summary::from_report(&access.migration, report);
    summary.pending_deletions = pending_deletions;
    if args.json {
        summary.started_at = Some(started_at);
        summary.finished_at = Some(finished_at);
        print_json(&summary)?;
        return Ok(Exit::Done);
    }
    let mut text = summary.text();
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let when = match finished_at {
        Some(finished_at) => format!("  started {}, ended {}\n", time(started_at), time(finished_at)),
        None => format!(
            "  started {}, last progress {}, by {holder}\n",
            time(started_at),
            time(progressed_at)
        ),
    };
    text += &when;
    if in_flight > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {in_flight} batches in flight");
    }
    if let Some(pending) = pending_deletions {
        let _ = writeln!(text, "  {pending}");
    }
    print_lines(&text)?;
    Ok(Exit::Done)
}
