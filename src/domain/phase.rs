//! Phases of a run.

use super::Mode;

/// The stage of work that a run is in, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Opens the databases.
    #[default]
    Starting,
    /// Reconciles batches that an earlier process left in flight.
    Settling,
    /// Compares key ranges with what an earlier run read.
    Comparing,
    /// Asks the source which rows have a newer one for the same destination.
    Outdated,
    /// Looks users, apps and tenants up at the API before the upload.
    Asking,
    /// Sends the first tokens one by one.
    Canary,
    /// Reads rows and sends their tokens; a dry run sends nothing.
    Sending,
    /// Retries batches whose attempts all failed.
    LastChances,
    /// Reads tokens back; a rollback also deletes the ones that match.
    ReadingBack,
}

impl Phase {
    /// Returns the word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Settling => "settling",
            Self::Comparing => "comparing",
            Self::Outdated => "outdated",
            Self::Asking => "asking",
            Self::Canary => "canary",
            Self::Sending => "sending",
            Self::LastChances => "last_chances",
            Self::ReadingBack => "reading_back",
        }
    }

    /// Returns the words for people.
    #[must_use]
    pub fn words(self, mode: Mode) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Settling => "reconciling earlier batches",
            Self::Comparing => "looking for changed rows",
            Self::Outdated => "looking for outdated rows",
            Self::Asking => "querying the API",
            Self::Canary => "canary",
            Self::Sending if mode == Mode::DryRun => "dry run",
            Self::Sending => "sending",
            Self::LastChances => "final retries",
            Self::ReadingBack if mode == Mode::Rollback => "reading back and deleting",
            Self::ReadingBack => "reading back",
        }
    }

    /// Returns true if rows are completed in this phase, so that a rate can be computed.
    #[must_use]
    pub fn is_working(self) -> bool {
        !matches!(
            self,
            Self::Starting | Self::Settling | Self::Comparing | Self::Outdated
        )
    }
}
