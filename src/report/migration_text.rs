//! The state of a migration as text.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::numbers::grouped;
use crate::{domain::visible, ledger::MigrationState};

/// Formats how far a migration is. `told` batches in flight are those of the run that is described next.
#[must_use]
pub fn migration_text(migration: &str, state: &MigrationState, told: i64) -> String {
    let mut text = format!("Migration \"{}\"\n", visible(migration));
    let mut row = |name: &str, count: Option<i64>, what: &str| {
        let count = count.map_or_else(|| "?".to_owned(), grouped);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<11}{count:>12}   {what}");
    };
    row("source rows", state.source_rows, &counted(state));
    row("committed", Some(state.committed), "stored by Descope");
    let failed = match state.acknowledged {
        0 => "not stored: `tokenferry failures` lists them".to_owned(),
        known => format!(
            "not stored, {} of them acknowledged: `tokenferry failures` lists them",
            grouped(known)
        ),
    };
    row("failed", Some(state.failed), &failed);
    row("superseded", Some(state.superseded), "left out for other tokens");
    row(
        "pending",
        state.pending,
        "without an outcome: `tokenferry migrate` sends them",
    );
    row(
        "skipped",
        Some(state.skipped),
        "stored before and unchanged, so not sent again by the last complete run",
    );
    let settled = state.committed + state.failed + state.superseded;
    if let Some(gone) = state
        .source_rows
        .filter(|_| !state.is_estimate)
        .map(|rows| settled - rows)
        .filter(|gone| *gone > 0)
    {
        let _ = writeln!(
            text,
            "  Of {} outcomes the rows were not in the source when it was counted.",
            grouped(gone)
        );
    }
    match (&state.active, state.batches_in_flight - told) {
        (Some(run), _) => {
            let _ = writeln!(
                text,
                "  {} works on it since {} (run {}, last progress {})",
                visible(&run.holder),
                time(run.since),
                run.run_id,
                time(run.progressed_at),
            );
        }
        (None, 0) => {}
        (None, others) => {
            let _ = writeln!(
                text,
                "  Batches of earlier runs in flight: {}. The next run settles them before it sends anything.",
                grouped(others)
            );
        }
    }
    text
}

fn counted(state: &MigrationState) -> String {
    match (state.counted_by, state.counted_at, state.source_rows) {
        (Some(run), Some(at), _) => format!("at the last complete count: run {run}, {}", time(at)),
        (_, _, Some(_)) => "expected: no run has read all of them yet".to_owned(),
        (_, _, None) => "unknown: no run has read all of them yet".to_owned(),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
