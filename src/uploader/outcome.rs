//! Outcomes: of sending a batch, and of its tokens.

use std::time::Duration;

use tokio::time::Instant;

use super::intent::Intent;
use crate::{
    descope::Refusal,
    domain::{Batch, Reason},
};

/// Tokens of one page that came to the same end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensFinished {
    /// The page.
    pub page: u64,
    /// Number of tokens.
    pub count: i64,
    /// Their end.
    pub end: TokenOutcome,
}

/// The end of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// Stored.
    Committed,
    /// Refused, or given up, all with the same code. Of several tokens, this is the first one's reason.
    Failed(Reason),
}

/// The result of sending one batch, after all its attempts.
#[derive(Debug)]
pub(super) enum AttemptResult {
    /// All of it is stored, and the ledger says so.
    Committed(Batch),
    /// Nothing of it is stored.
    Rejected(Rejected),
    /// Nothing of it is stored: no attempt got through. It may be sent later.
    Exhausted { batch: Batch, reason: Reason },
    /// It is unknown whether it is stored. The ledger has it in flight.
    Unresolved(Unresolved),
    /// The run ends. Its tokens are pending, or, if the batch was under way, in flight in the ledger.
    Stopped,
}

/// A batch that the API refused. Every token of it has either failed, or is in one of the batches that are sent again.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The pages of the failed tokens, in their order, and the reason of each. The ledger has them.
    pub(super) failed: Vec<(u64, Reason)>,
    pub(super) again: Vec<Batch>,
    /// The reason of the batch.
    pub(super) reason: Reason,
    /// The API said that the batch is too large.
    pub(super) is_too_large: bool,
}

/// A batch that may be stored or not.
#[derive(Debug)]
pub(super) struct Unresolved {
    pub(super) batch: Batch,
    pub(super) intent: Intent,
    /// From then on no attempt can be under way.
    pub(super) settled_at: Instant,
}

/// The next attempt at a batch of which nothing is stored by the last one.
#[derive(Debug)]
pub(super) struct NextAttempt {
    pub(super) batch: Batch,
    pub(super) intent: Intent,
    /// The failure that uses up an attempt, and the wait after it. `None` after a 429, which uses up none.
    pub(super) failure: Option<(Refusal, Duration)>,
}
