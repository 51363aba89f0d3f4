//! What the ledger knows already about the rows of a page.

use std::collections::HashMap;

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
}

/// The ledger's answer about one page, fetched in one go.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// By source row.
    pub rows: HashMap<SourceKey, Settled>,
    /// By destination.
    pub incumbents: HashMap<DestinationId, Incumbent>,
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
