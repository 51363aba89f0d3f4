//! Rollback: what became of the tokens that were to be deleted.

use std::fmt;

use serde::Serialize;

use super::{DryRun, Reason, RunId, Tally};

/// Which tokens are to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackRequest {
    /// Those that this run sent.
    pub of_run: RunId,
    /// Whether it is only said which would be.
    pub dry_run: DryRun,
    /// Whether those are read, too, that a fetch may make Descope refresh.
    pub include_expired: bool,
}

/// Tokens that a rollback was deleting when it was ended: whether they are gone from Descope is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PendingDeletions {
    /// The rollback.
    pub rollback: RunId,
    /// The run that sent the tokens.
    pub of_run: RunId,
    /// How many there are.
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
            "run {rollback}, a rollback of run {of_run}, was ended while {tokens} {were} being deleted: whether they are still at \
             Descope is not known, and the ledger counts them as committed. `tokenferry rollback --run {of_run}` goes on with it and \
             settles them"
        )
    }
}

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackOutcome {
    /// It was deleted.
    Removed,
    /// It was not there any more.
    Gone,
    /// A dry run would delete it.
    Deletable,
    /// It is left alone.
    Refused(Reason),
    /// A deletion of ours may have got through, and nobody can tell: it is not known to be there any more.
    InDoubt(Reason),
}

impl RollbackOutcome {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Gone => "gone",
            Self::Deletable => "deletable",
            Self::Refused(_) | Self::InDoubt(_) => "refused",
        }
    }

    /// The same in the books of a run.
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

    /// Why it is left alone, or called neither deleted nor there, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Refused(reason) | Self::InDoubt(reason) => Some(reason),
            Self::Removed | Self::Gone | Self::Deletable => None,
        }
    }
}

/// What became of all of them so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rollback {
    /// The run whose tokens they are.
    pub of_run: RunId,
    /// Nothing is deleted: the numbers say what would be.
    pub dry_run: bool,
    /// Deleted.
    pub removed: i64,
    /// Not there any more.
    pub gone: i64,
    /// Left alone, each with a reason.
    pub refused: i64,
}

impl Rollback {
    /// The same as the books of a run: committed is what was deleted, unchanged is what was not there any more, and failed is
    /// what is left alone.
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
