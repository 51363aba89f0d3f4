//! The ledger's state for the rows of a page.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Destination, DestinationId, Prior, RunId, SourceKey, TokenState, Version};
use crate::secret::Fingerprint;

/// The last outcome of a source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOutcome {
    /// How it ended.
    pub state: TokenState,
    /// In which run.
    pub run: RunId,
    /// What was sent for it; absent where nothing was.
    pub fingerprint: Option<Fingerprint>,
    /// How new the row was at that outcome.
    pub version: Version,
    /// The batch that it was sent in; absent where it was not.
    pub batch: Option<i64>,
    /// From when on it may have arrived; known only where another migration has sent something to the same place.
    pub since: Option<DateTime<Utc>>,
    /// The run that found it outdated, and how new it was then.
    pub outdated: Option<(RunId, Version)>,
    /// Where it was sent, as far as it was.
    pub destination: Option<DestinationId>,
}

/// A row that is stored where it goes, under an ID of its destination that an earlier version made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The source row.
    pub key: SourceKey,
    /// The ID of its destination.
    pub destination: DestinationId,
}

/// At which destinations there may be tokens that the ledger does not know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forgotten {
    /// At none.
    #[default]
    Nothing,
    /// At those with scopes: earlier versions did not look at them.
    Scoped,
    /// At all of them, by other migrations: the ledger was restored to an earlier state, and they have not looked at their rows since.
    Elsewhere,
    /// At all of them: the same of this very migration. What the ledger calls stored may have been overwritten or deleted since.
    Anything,
}

/// A row whose token is at its destination now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentHolder {
    /// The source row.
    pub key: SourceKey,
    /// How new it was when it was sent.
    pub version: Version,
    /// The run that sent it.
    pub run: RunId,
    /// Its row is gone from the source, or goes elsewhere: it keeps no other row from its place.
    pub departed: bool,
    /// Its row says that it is older now than what was sent for it.
    pub went_back: bool,
}

impl CurrentHolder {
    /// As the ledger knows it: whether its row is there still is another question.
    #[must_use]
    pub fn new(key: SourceKey, version: Version, run: RunId) -> Self {
        Self {
            key,
            version,
            run,
            departed: false,
            went_back: false,
        }
    }
}

/// A token that another migration of the ledger has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiblingToken {
    /// The migration.
    pub migration: Arc<str>,
    /// How new its row was when it was sent.
    pub version: Version,
    /// What was sent.
    pub fingerprint: Option<Fingerprint>,
    /// In which batch.
    pub batch: Option<i64>,
    /// Until when it may have arrived.
    pub until: Option<DateTime<Utc>>,
}

/// Whether an older version of a row may go over the newer one that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OlderVersions {
    /// The newer one stays: the source may be a replica that lags, or restored.
    #[default]
    Refused,
    /// The source is right, however old.
    Allowed,
}

/// The ledger's answer about one page, fetched in one go.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    /// By source row.
    pub rows: HashMap<SourceKey, LastOutcome>,
    /// By destination.
    pub incumbents: HashMap<DestinationId, CurrentHolder>,
    /// By destination: what other migrations have sent there. Mostly nothing.
    pub siblings: HashMap<DestinationId, Vec<SiblingToken>>,
    /// What is known to be at a destination, where this ledger ever sent anything there.
    pub prior_tokens: HashMap<DestinationId, Prior>,
    /// Where something may be that is not known.
    pub forgotten: Forgotten,
}

impl LedgerState {
    /// What is at a destination, as far as the ledger knows. `id` is the destination's.
    #[must_use]
    pub fn prior(&self, at: &Destination, id: &DestinationId) -> Prior {
        let known = self.prior_tokens.get(id).copied().unwrap_or_default();
        match self.forgotten {
            // So that nothing counts as unchanged, either.
            Forgotten::Anything => Prior::Unresolved,
            _ if known == Prior::Unresolved => known,
            Forgotten::Scoped if !at.scopes.is_empty() => Prior::Unknown,
            Forgotten::Elsewhere => Prior::Unknown,
            Forgotten::Scoped | Forgotten::Nothing => known,
        }
    }
}
