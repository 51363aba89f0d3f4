//! Status badge: the state of a run in a few words, for report, live page and summaries.

use crate::domain::Mode;

/// A status as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StatusBadge {
    /// The words.
    pub words: &'static str,
    /// Its colour: `good`, `busy`, `warn` or `bad`.
    pub tone: &'static str,
}

/// The badge of a run: `status` is the ledger's word, or what the live page knows beyond that.
#[must_use]
pub fn badge(status: &str, mode: Mode) -> StatusBadge {
    let (words, tone) = match (status, mode) {
        ("completed", _) => ("completed", "good"),
        ("completed_with_failures", Mode::Migrate) => ("completed, some failed", "warn"),
        ("completed_with_failures", Mode::DryRun) => ("completed, problems found", "warn"),
        ("completed_with_failures", Mode::Verify) => ("completed, differences found", "warn"),
        ("completed_with_failures", Mode::Rollback) => ("completed, some tokens stay", "warn"),
        ("running", _) => ("running", "busy"),
        ("starting", _) => ("starting", "busy"),
        ("paused", _) => ("paused", "warn"),
        ("held", _) => ("waiting", "warn"),
        ("stopping", _) => ("stopping", "warn"),
        ("interrupted", _) => ("interrupted", "warn"),
        ("stopped", _) => ("stopped", "bad"),
        _ => ("of an unknown status", "bad"),
    };
    StatusBadge { words, tone }
}

/// What comes after a run that ended early. `is_taken_up` says whether the next `migrate` goes on with it, where that is known.
#[must_use]
pub fn after_an_early_end(mode: Mode, is_taken_up: Option<bool>) -> &'static str {
    match (mode, is_taken_up) {
        (Mode::DryRun, _) => "the next dry run begins anew",
        (Mode::Verify, _) => "the next `tokenferry verify` of the same tokens goes on from here",
        (Mode::Rollback, _) => "the next `tokenferry rollback` of the same run goes on from here",
        (Mode::Migrate, Some(true)) => "the next `tokenferry migrate` goes on from here",
        (Mode::Migrate, Some(false)) => {
            "no run goes on with this one: the next `tokenferry migrate` does what it left"
        }
        (Mode::Migrate, None) => "the next `tokenferry migrate` does what is left",
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
                    !badge.words.contains('_') && badge.words != "of an unknown status",
                    "{badge:?}"
                );
            }
        }
    }
}
