//! `status`: shows where the migration stands, and a run.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Exit,
    args::{Global, StatusArgs},
    exit::UsageError,
    load, print_json, print_lines,
};
use crate::{
    domain::{PendingDeletions, Summary, visible},
    ledger::{LedgerReader, LockKind, MigrationState},
    report::migration_text,
};

/// The object that `status --json` prints.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    /// Where the migration stands, unless a run was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    migration_state: Option<&'a MigrationState>,
    /// Tokens that a rollback was deleting when it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_deletions: Option<PendingDeletions>,
}

pub(super) async fn run(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let report = reports.run(args.run).await?;
    // A running rollback always has some.
    let pending_deletions = match reports.pending_deletions().await? {
        Some(pending) if !reports.is_held(LockKind::Migration).await? => Some(pending),
        _ => None,
    };
    let state = match args.run {
        None if report.is_some() => Some(reports.migration_state().await?),
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
    if args.json {
        print_json(&StatusJson {
            summary: &report.summary,
            started_at: report.started_at,
            finished_at: report.finished_at,
            migration_state: state.as_ref(),
            pending_deletions,
        })?;
        return Ok(Exit::Done);
    }
    let mut text = state
        .map(|state| migration_text(&access.migration, &state, report.summary.batches_in_flight))
        .unwrap_or_default();
    text += &report.summary.text();
    let time = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    // Writing to a text cannot fail.
    let _ = match report.finished_at {
        Some(at) => writeln!(text, "  started {}, ended {}", time(report.started_at), time(at)),
        None => writeln!(
            text,
            "  started {}, last progress {}, by {}",
            time(report.started_at),
            time(report.progressed_at),
            visible(&report.holder)
        ),
    };
    if let Some(pending) = pending_deletions {
        let _ = writeln!(text, "  {pending}");
    }
    print_lines(&text)?;
    Ok(Exit::Done)
}
