//! Phases of a run.

use super::Mode;

/// The part of its work that a run is at, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It opens the databases.
    #[default]
    Starting,
    /// Finds out what became of batches that an earlier process left in flight.
    Settling,
    /// Asks the source which rows have a newer one for the same destination.
    Outdated,
    /// Asks the API how much there is to ask, or about every token, before it goes on.
    Asking,
    /// Sends the first tokens one by one.
    Canary,
    /// Reads rows and sends their tokens; or, in a dry run, does not.
    Sending,
    /// Tries batches again that nothing got through for.
    LastChances,
    /// Reads tokens back; or, in a rollback, deletes those that it recognises.
    ReadingBack,
}

impl Phase {
    /// The word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Settling => "settling",
            Self::Outdated => "outdated",
            Self::Asking => "asking",
            Self::Canary => "canary",
            Self::Sending => "sending",
            Self::LastChances => "last_chances",
            Self::ReadingBack => "reading_back",
        }
    }

    /// The words for people.
    #[must_use]
    pub fn words(self, mode: Mode) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Settling => "settling what was left",
            Self::Outdated => "looking for outdated rows",
            Self::Asking => "asking the API",
            Self::Canary => "canary",
            Self::Sending if mode == Mode::DryRun => "dry run",
            Self::Sending => "sending",
            Self::LastChances => "last chances",
            Self::ReadingBack if mode == Mode::Rollback => "reading back and deleting",
            Self::ReadingBack => "reading back",
        }
    }

    /// Whether rows come to an end in it, so that a pace can be told.
    #[must_use]
    pub fn is_working(self) -> bool {
        !matches!(self, Self::Starting | Self::Settling | Self::Outdated)
    }
}
