//! The list of runs: a paragraph for each, which fits narrow terminals better than a row of eleven columns.

use std::fmt::Write as _;

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
    let mut text = String::new();
    for run in runs {
        let tokens = &run.tokens;
        let known = match run.acknowledged {
            0 => String::new(),
            known => format!(" ({} acknowledged)", grouped(known)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "run {}, {}: {}\n  {}, took {}, {}\n  {} selected: {} committed, {} failed{known}, {} superseded, {} unchanged",
            run.run_id,
            mode(run),
            result(run),
            run.started_at.format("%Y-%m-%d %H:%M:%S UTC"),
            humantime::format_duration(rounded(run.duration_s)),
            visible(&run.holder),
            grouped(tokens.selected),
            grouped(tokens.committed),
            grouped(tokens.failed),
            grouped(tokens.superseded),
            grouped(tokens.unchanged),
        );
    }
    if more > 0 {
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
