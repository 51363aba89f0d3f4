//! The status badge: the state of a run in a few words, for page, live page and summaries.

use crate::domain::Mode;

/// A status for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StatusBadge {
    /// The words.
    pub words: &'static str,
    /// The colour: `good`, `busy`, `warn` or `bad`.
    pub tone: &'static str,
}

/// Returns the badge of a run; `status` is the ledger's word or a state of the live page.
#[must_use]
pub fn badge(status: &str, mode: Mode) -> StatusBadge {
    let (words, tone) = match (status, mode) {
        ("completed", _) => ("completed", "good"),
        ("completed_with_failures", Mode::Migrate) => ("completed, some failed", "warn"),
        ("completed_with_failures", Mode::DryRun) => ("completed, problems found", "warn"),
        ("completed_with_failures", Mode::Verify) => ("completed, differences found", "warn"),
        ("completed_with_failures", Mode::Rollback) => ("completed, some tokens were kept", "warn"),
        ("running", _) => ("running", "busy"),
        ("starting", _) => ("starting", "busy"),
        ("paused", _) => ("paused", "warn"),
        ("held", _) => ("waiting", "warn"),
        ("stopping", _) => ("stopping", "warn"),
        ("interrupted", _) => ("interrupted", "warn"),
        ("stopped", _) => ("stopped", "bad"),
        _ => ("unknown status", "bad"),
    };
    StatusBadge { words, tone }
}

/// Returns what happens after a run that ended early. `is_taken_up` says whether the next `migrate` resumes
/// it, if known.
#[must_use]
pub fn after_an_early_end(mode: Mode, is_taken_up: Option<bool>) -> &'static str {
    match (mode, is_taken_up) {
        (Mode::DryRun, _) => "the next dry run starts over",
        (Mode::Verify, _) => "the next `tokenferry verify` of the same tokens resumes here",
        (Mode::Rollback, _) => "the next `tokenferry rollback` of the same run resumes here",
        (Mode::Migrate, Some(true)) => "the next `tokenferry migrate` resumes here",
        (Mode::Migrate, Some(false)) => {
            "this run cannot be resumed: the next `tokenferry migrate` starts a new run for the rest"
        }
        (Mode::Migrate, None) => "the next `tokenferry migrate` does the rest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RunStatus;

    #[test]
    fn every_status_has_its_words() {
        for status in [
            RunStatus::Running,
            RunStatus::Completed,
            RunStatus::CompletedWithFailures,
            RunStatus::Interrupted,
            RunStatus::Stopped,
        ] {
            for mode in [Mode::Migrate, Mode::DryRun, Mode::Verify, Mode::Rollback] {
                let badge = badge(status.as_str(), mode);
                assert!(
                    !badge.words.contains('_') && badge.words != "unknown status",
                    "{badge:?}"
                );
            }
        }
    }
}
