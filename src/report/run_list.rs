//! The list of runs as a table.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};

use super::{
    badge,
    numbers::{grouped, rounded},
};
use crate::{
    domain::{Mode, visible},
    ledger::ListedRun,
};

/// Formats runs, newest first; `more` is the number of earlier ones.
#[must_use]
pub fn run_list(migration: &str, runs: &[ListedRun], more: i64) -> String {
    if runs.is_empty() {
        return format!(
            "migration \"{}\" has no run yet: `tokenferry migrate` starts one\n",
            visible(migration)
        );
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "run",
        "mode",
        "result",
        "started",
        "took",
        "by",
        "selected",
        "committed",
        "failed",
        "superseded",
        "unchanged",
    ]);
    for run in runs {
        let tokens = &run.tokens;
        let failed = match run.acknowledged {
            0 => grouped(tokens.failed),
            known => format!("{} ({} acknowledged)", grouped(tokens.failed), grouped(known)),
        };
        table.add_row([
            run.run_id.to_string(),
            mode(run),
            result(run),
            run.started_at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            humantime::format_duration(rounded(run.duration_s)).to_string(),
            visible(&run.holder),
            grouped(tokens.selected),
            grouped(tokens.committed),
            failed,
            grouped(tokens.superseded),
            grouped(tokens.unchanged),
        ]);
    }
    for column in [0, 4, 6, 7, 8, 9, 10] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "… and {} earlier: `--limit` shows more", grouped(more));
    }
    text
}

fn mode(run: &ListedRun) -> String {
    let mode = match run.mode {
        Mode::DryRun => "dry run",
        other => other.as_str(),
    };
    if run.selection == "all" {
        mode.to_owned()
    } else {
        format!("{mode}, only {}", visible(&run.selection))
    }
}

fn result(run: &ListedRun) -> String {
    let words = badge(&run.status, run.mode).words;
    match &run.stop_reason {
        Some(reason) => format!("{words}: {}", visible(reason)),
        None => words.to_owned(),
    }
}
