//! Unread rows: a run that ended early, or still works, knows only the rows it has read.

use super::numbers::grouped;
use crate::domain::{Mode, Summary};

/// Returns true if the run has read all selected rows.
pub(super) fn is_complete(summary: &Summary) -> bool {
    // A dry run of a part of the rows is completed, but has a stop reason.
    summary.status.starts_with("completed") && summary.stop_reason.is_none()
}

/// Describes the rows that were not read; `None` if there are none, or if the run does not read rows.
pub(super) fn unread(summary: &Summary) -> Option<String> {
    if is_complete(summary) || !matches!(summary.mode, Mode::Migrate | Mode::DryRun) {
        return None;
    }
    let read = summary.tokens.selected;
    Some(match summary.rows_expected {
        // The planner's estimate may be too low.
        Some(expected) if expected > read => format!(
            "About {} of about {} rows have not been read.",
            grouped(expected - read),
            grouped(expected)
        ),
        _ => "The rows after these have not been read; their number is unknown.".to_owned(),
    })
}
