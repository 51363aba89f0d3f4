//! A rollback: a run that deletes the tokens of another run.

use std::time::Duration;

use super::{Committed, Run};
use crate::domain::{Lifetime, Probe, RollbackRequest, RunId};

/// A run that deletes the tokens of another run.
#[derive(Debug, Clone)]
pub struct RollbackRun {
    /// The run.
    pub run: Run,
    /// The tokens to delete.
    pub rollback_request: RollbackRequest,
    /// The target of the tokens.
    pub(super) api: String,
}

/// A token that the run sent and that no later run has changed.
#[derive(Debug, Clone)]
pub struct RollbackCandidate {
    /// The token.
    pub token: Committed,
    /// Another run that put a token at the same destination.
    pub shared_with: Option<RunId>,
    /// The deletion that an earlier process intended; its outcome is unknown.
    pub intended: Option<IntendedDeletion>,
}

/// A deletion that is about to be sent, with everything that is needed to find out its outcome later: the
/// token's row in the source may have changed by then.
#[derive(Debug, Clone)]
pub struct IntendedDeletion {
    /// The ID by which Descope deletes it.
    pub token_id: String,
    /// The request that reads it back; absent if an earlier version did not record it.
    pub probe: Option<Probe>,
    /// Expiry of its access token in seconds since 1970, if it was sent.
    pub expiry: Option<i32>,
    /// Time since the intent, by the database's clock.
    pub age: Duration,
}

impl IntendedDeletion {
    /// Returns what decides whether reading the token back makes Descope refresh it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            expiry: self.expiry,
            // The probe asks for the refresh token if there is one.
            has_refresh_token: self.probe.as_ref().is_none_or(|probe| probe.with_refresh_token),
        }
    }
}
