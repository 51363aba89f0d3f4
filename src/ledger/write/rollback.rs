//! A rollback: a run that deletes what another run sent, and its tokens.

use std::time::Duration;

use super::{Committed, Run};
use crate::domain::{Lifetime, Probe, RollbackRequest, RunId};

/// A run that deletes what another one sent.
#[derive(Debug, Clone)]
pub struct RollbackRun {
    /// The run.
    pub run: Run,
    /// What it is about.
    pub rollback_request: RollbackRequest,
    /// Where the tokens are.
    pub(super) api: String,
}

/// A token that the run in question sent, and that nobody has worked on since.
#[derive(Debug, Clone)]
pub struct RollbackCandidate {
    /// The token.
    pub token: Committed,
    /// Another run put a token at the same place.
    pub shared_with: Option<RunId>,
    /// An earlier process was about to delete it, and what became of that is not known.
    pub intended: Option<IntendedDeletion>,
}

/// A deletion that is about to leave, with all it takes to find out later what became of it: the token's row in the source may
/// be another one by then.
#[derive(Debug, Clone)]
pub struct IntendedDeletion {
    /// By which Descope deletes it.
    pub token_id: String,
    /// How to ask for it; absent where an earlier version did not record that.
    pub probe: Option<Probe>,
    /// When its access token expires, in seconds since 1970, where that was sent.
    pub expiry: Option<i32>,
    /// How long ago it was about to leave, by the database's clock.
    pub age: Duration,
}

impl IntendedDeletion {
    /// What decides whether reading it back makes Descope refresh it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            expiry: self.expiry,
            // It was asked for by it, if it has one.
            has_refresh_token: self.probe.as_ref().is_none_or(|probe| probe.with_refresh_token),
        }
    }
}
