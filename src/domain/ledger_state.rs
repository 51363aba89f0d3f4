//! The ledger's state for the rows of a page.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Destination, DestinationId, Prior, RunId, SourceKey, TokenState, Version};
use crate::secret::Fingerprint;

/// The last outcome of a source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOutcome {
    /// The state.
    pub state: TokenState,
    /// The run.
    pub run: RunId,
    /// The fingerprint of the uploaded token, if anything was sent.
    pub fingerprint: Option<Fingerprint>,
    /// The version of the row at that time.
    pub version: Version,
    /// The batch it was sent in, if it was sent.
    pub batch: Option<i64>,
    /// The earliest time of arrival. Known only if another migration has sent something to the same
    /// destination.
    pub since: Option<DateTime<Utc>>,
    /// The run that found it outdated, and its version then.
    pub outdated: Option<(RunId, Version)>,
    /// The destination, if it was sent.
    pub destination: Option<DestinationId>,
}

/// A row whose token is stored under a destination ID of an earlier version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The source row.
    pub key: SourceKey,
    /// The ID of its destination.
    pub destination: DestinationId,
}

/// The destinations that may hold tokens unknown to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forgotten {
    /// None.
    #[default]
    Nothing,
    /// Those with scopes: earlier versions ignored scopes.
    Scoped,
    /// All, by other migrations: the ledger was restored to an earlier state, and they have not read their
    /// rows since.
    Elsewhere,
    /// All, by this migration too. A token that the ledger calls committed may have been overwritten or
    /// deleted since.
    Anything,
}

/// A row whose token is at its destination now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentHolder {
    /// The source row.
    pub key: SourceKey,
    /// Its version when it was sent.
    pub version: Version,
    /// The run that sent it.
    pub run: RunId,
    /// Its row is gone from the source or has another destination, so it blocks no other row.
    pub departed: bool,
    /// Its row is now older than the version that was sent.
    pub went_back: bool,
}

impl CurrentHolder {
    /// Returns the holder as the ledger knows it; the source is not consulted.
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
    /// The version of its row when it was sent.
    pub version: Version,
    /// The fingerprint of what was sent.
    pub fingerprint: Option<Fingerprint>,
    /// The batch.
    pub batch: Option<i64>,
    /// The latest time of arrival.
    pub until: Option<DateTime<Utc>>,
}

/// Says whether an older version of a row may overwrite a newer one that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OlderVersions {
    /// The newer one stays: the source may be a lagging replica, or restored from a backup.
    #[default]
    Refused,
    /// The source is right, however old it is.
    Allowed,
}

/// The ledger's answer about one page, fetched at once.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    /// The last outcomes, by source row.
    pub rows: HashMap<SourceKey, LastOutcome>,
    /// The current holders, by destination.
    pub incumbents: HashMap<DestinationId, CurrentHolder>,
    /// The tokens that other migrations sent, by destination. Usually empty.
    pub siblings: HashMap<DestinationId, Vec<SiblingToken>>,
    /// The known content of destinations that this ledger has sent something to.
    pub prior_tokens: HashMap<DestinationId, Prior>,
    /// The destinations that may hold something unknown.
    pub forgotten: Forgotten,
}

impl LedgerState {
    /// Returns what the ledger knows of the content of a destination; `id` is its ID.
    #[must_use]
    pub fn prior(&self, at: &Destination, id: &DestinationId) -> Prior {
        let known = self.prior_tokens.get(id).copied().unwrap_or_default();
        match self.forgotten {
            // Nothing may count as unchanged, either.
            Forgotten::Anything => Prior::Unresolved,
            _ if known == Prior::Unresolved => known,
            Forgotten::Scoped if !at.scopes.is_empty() => Prior::Unknown,
            Forgotten::Elsewhere => Prior::Unknown,
            Forgotten::Scoped | Forgotten::Nothing => known,
        }
    }
}
