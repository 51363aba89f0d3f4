//! Outcomes of a batch that was sent, and of its tokens.

use std::time::Duration;

use tokio::time::Instant;

use super::intent::Intent;
use crate::{
    descope::Refusal,
    domain::{Batch, Reason},
};

/// Tokens of one page with the same outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensFinished {
    /// Number of the page.
    pub page: u64,
    /// Number of tokens.
    pub count: i64,
    /// Their outcome.
    pub end: TokenOutcome,
}

/// The outcome of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// It is stored.
    Committed,
    /// It was rejected or abandoned. All tokens have the same code; the reason is that of the first one.
    Failed(Reason),
}

/// The result of sending one batch, after all its attempts.
#[derive(Debug)]
pub(super) enum AttemptResult {
    /// All of it is stored, and the ledger has recorded that.
    Committed {
        batch: Batch,
        /// The API responded quickly to the first attempt.
        is_clean: bool,
    },
    /// Only the first tokens of it are stored, as far as is known, and the ledger has recorded those.
    Truncated {
        stored: Batch,
        rest: Batch,
        /// The position of a token that is not stored, if one is known.
        missing_from: Option<usize>,
    },
    /// Nothing of it is stored.
    Rejected(Rejected),
    /// Nothing of it is known to be stored: all attempts failed. It may be sent later.
    Exhausted { batch: Batch, reason: Reason },
    /// It may be stored. The ledger has it in flight.
    Unresolved(Unresolved),
    /// The run ends. The tokens are pending or, if the outcome is unknown, in flight in the ledger.
    Stopped,
}

/// A batch that the API rejected. Each token has either failed or is in one of the batches to send again.
#[derive(Debug)]
pub(super) struct Rejected {
    /// Page and reason of each failed token, in the order of the batch. The ledger has recorded them.
    pub(super) failed: Vec<(u64, Reason)>,
    /// The tokens that did not fail, if there are any.
    pub(super) again: Option<Batch>,
    /// The reason of the first failed token, or of the batch if no token failed.
    pub(super) reason: Reason,
    pub(super) cause: Cause,
}

/// The cause of a rejection, as far as the response shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The API named bad tokens.
    Tokens,
    /// The API said that the batch is too large.
    TooLarge,
    /// The API named nothing: the size, or a bad token.
    Unnamed,
}

/// A batch that may or may not be stored.
#[derive(Debug)]
pub(super) struct Unresolved {
    pub(super) batch: Batch,
    pub(super) intent: Intent,
    /// From this time on, no request for it can be in flight.
    pub(super) settled_at: Instant,
}

/// The next attempt at a batch that is sent again.
#[derive(Debug)]
pub(super) struct NextAttempt {
    pub(super) batch: Batch,
    pub(super) intent: Intent,
    /// The failure, which uses up an attempt, and the wait after it. `None` after a 429, which uses up none.
    pub(super) failure: Option<(Refusal, Duration)>,
}
