//! Rollback: outcomes of the tokens to delete.

use std::fmt;

use serde::Serialize;

use super::{DryRun, Reason, RunId, Tally};

/// The tokens to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackRequest {
    /// The run that sent them.
    pub of_run: RunId,
    /// Only reports the deletions.
    pub dry_run: DryRun,
    /// Also reads tokens that a fetch may make Descope refresh.
    pub include_expired: bool,
}

/// Tokens that a rollback was deleting when it ended: it is unknown whether they still exist at Descope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PendingDeletions {
    /// The rollback.
    pub rollback: RunId,
    /// The run that sent the tokens.
    pub of_run: RunId,
    /// The number of tokens.
    pub tokens: i64,
}

impl fmt::Display for PendingDeletions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rollback,
            of_run,
            tokens,
        } = self;
        let were = if *tokens == 1 { "token was" } else { "tokens were" };
        write!(
            f,
            "run {rollback}, a rollback of run {of_run}, ended while {tokens} {were} being deleted: it is unknown whether they still exist \
             at Descope, and the ledger counts them as committed. `tokenferry rollback --run {of_run}` resumes it and \
             settles them"
        )
    }
}

/// The outcome of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackOutcome {
    /// It was deleted.
    Removed,
    /// It did not exist any more.
    Gone,
    /// A dry run would delete it.
    Deletable,
    /// It was kept.
    Refused(Reason),
    /// A deletion may have arrived and the outcome is unknown, so the token may no longer exist.
    InDoubt(Reason),
}

impl RollbackOutcome {
    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Gone => "gone",
            Self::Deletable => "deletable",
            Self::Refused(_) | Self::InDoubt(_) => "refused",
        }
    }

    /// Returns the outcome as counts of a run.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut one = Rollback::default();
        *match self {
            Self::Removed | Self::Deletable => &mut one.removed,
            Self::Gone => &mut one.gone,
            Self::Refused(_) | Self::InDoubt(_) => &mut one.refused,
        } = 1;
        one.tally()
    }

    /// Returns the reason why it was kept or its deletion is unresolved.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Refused(reason) | Self::InDoubt(reason) => Some(reason),
            Self::Removed | Self::Gone | Self::Deletable => None,
        }
    }
}

/// The outcomes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rollback {
    /// The run that sent the tokens.
    pub of_run: RunId,
    /// Nothing is deleted: the counts are what a rollback would do.
    pub dry_run: bool,
    /// Deleted.
    pub removed: i64,
    /// Did not exist any more.
    pub gone: i64,
    /// Kept, each with a reason.
    pub refused: i64,
}

impl Rollback {
    /// Returns the outcomes as counts of a run: committed are deleted, unchanged did not exist any more,
    /// failed are kept.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            selected: self.removed + self.gone + self.refused,
            committed: self.removed,
            failed: self.refused,
            superseded: 0,
            unchanged: self.gone,
        }
    }
}
