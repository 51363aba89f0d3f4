//! Unread rows: a run that ended early, or still works, knows only of the rows it has read.

use super::{Summary, numbers::grouped};
use crate::domain::Mode;

/// Returns true if the run has looked at all rows that it was to look at.
pub(super) fn is_complete(summary: &Summary) -> bool {
    // A dry run of a part of the rows is completed, and says why it ended there.
    summary.status.starts_with("completed") && summary.stop_reason.is_none()
}

/// A sentence about the rows that nobody has looked at; `None` if there are none, or if this is not about rows.
pub(super) fn unread(summary: &Summary) -> Option<String> {
    if is_complete(summary) || !matches!(summary.mode, Mode::Migrate | Mode::DryRun) {
        return None;
    }
    let read = summary.tokens.selected;
    Some(match summary.rows_expected {
        // The planner's idea may be too low.
        Some(expected) if expected > read => format!(
            "About {} of about {} rows have not been looked at.",
            grouped(expected - read),
            grouped(expected)
        ),
        _ => "The rows after these have not been looked at; how many there are is not known.".to_owned(),
    })
}
