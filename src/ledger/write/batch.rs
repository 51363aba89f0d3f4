//! A batch's row in the ledger, and the end of its attempts.

use std::time::Duration;

use sqlx::types::Uuid;

use crate::domain::Witness;

/// A batch's row. The process that opens the batch draws the nonce: a ledger that was restored to an earlier
/// state assigns the same IDs again, and the outcome of one batch must never be recorded for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    /// The ID that people see.
    pub id: i64,
    pub(super) nonce: Uuid,
}

/// A batch in flight whose process is gone. Its outcome is unknown.
#[derive(Debug)]
pub struct Unsettled {
    /// The batch.
    pub batch: BatchRef,
    /// Time since its latest attempt was recorded, by the database's clock.
    pub age: Duration,
    /// Time of that record, in seconds since 1970.
    pub submitted_at: i64,
    /// Requests that carried it.
    pub attempts: i32,
    /// The number of its tokens.
    pub token_count: i32,
    /// The tokens to read back.
    pub witnesses: Vec<Witness>,
}

/// The end of a batch's attempts.
#[derive(Debug, Clone, Copy)]
pub struct BatchOutcome {
    /// The batch.
    pub batch: BatchRef,
    /// Requests that carried it.
    pub attempts: i32,
    /// The last status, if there was a response.
    pub http_status: Option<i32>,
    /// Tokens that an earlier attempt may have stored.
    pub residue: RemainingTokens,
}

/// Tokens of a failed batch that may be stored all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemainingTokens {
    /// No token is stored.
    None,
    /// The outcome of an attempt is unknown, and so is what its destinations hold from now on.
    Possible,
}
