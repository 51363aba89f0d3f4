//! What the ledger knows already about the rows of a page.

use std::{collections::HashMap, sync::Arc};

use super::{DestinationId, Fingerprint, Prior, RunId, SourceKey, TokenState, Version};

/// The last outcome of a source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
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
    /// The run that found it outdated, and how new it was then.
    pub outdated: Option<(RunId, Version)>,
}

/// A row whose token is at its destination now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incumbent {
    /// The source row.
    pub key: SourceKey,
    /// How new it was when it was sent.
    pub version: Version,
    /// The run that sent it.
    pub run: RunId,
    /// Its row is gone from the source, or goes elsewhere: it keeps no other row from its place.
    pub departed: bool,
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
pub struct Known {
    /// By source row.
    pub rows: HashMap<SourceKey, Settled>,
    /// By destination.
    pub incumbents: HashMap<DestinationId, Incumbent>,
    /// By destination: what other migrations have sent there. Mostly nothing.
    pub siblings: HashMap<DestinationId, Vec<SiblingToken>>,
    /// What is known to be at a destination, where this ledger ever sent anything there.
    pub priors: HashMap<DestinationId, Prior>,
}

impl Known {
    /// What is at a destination, as far as the ledger knows.
    #[must_use]
    pub fn prior(&self, at: &DestinationId) -> Prior {
        self.priors.get(at).copied().unwrap_or_default()
    }
}
