//! A batch as the ledger identifies it, and how its attempts ended.

use std::time::Duration;

use sqlx::types::Uuid;

use crate::domain::Witness;

/// A batch's row. The nonce is made by the process that opens it: a ledger that was restored to an earlier state hands the
/// same ids out again, and the outcome of one batch must never be recorded for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    /// The id that people see.
    pub id: i64,
    pub(super) nonce: Uuid,
}

/// A batch in flight whose process is gone: what became of it is to be found out.
#[derive(Debug)]
pub struct Unsettled {
    /// The batch.
    pub batch: BatchRef,
    /// How long ago its latest attempt was about to leave, by the database's clock.
    pub age: Duration,
    /// The same in seconds since 1970.
    pub submitted_at: i64,
    /// Requests that carried it.
    pub attempts: i32,
    /// How many tokens it holds.
    pub token_count: i32,
    /// Which of them to read back.
    pub witnesses: Vec<Witness>,
}

/// How an attempt ended, for the batch's row.
#[derive(Debug, Clone, Copy)]
pub struct BatchOutcome {
    /// The batch.
    pub batch: BatchRef,
    /// Requests that carried it.
    pub attempts: i32,
    /// The last status, where there was an answer.
    pub http_status: Option<i32>,
    /// Whether an earlier attempt may have been stored.
    pub residue: RemainingTokens,
}

/// Whether a batch that is recorded as failed may be stored all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemainingTokens {
    /// Nothing of it is stored.
    None,
    /// Nobody could tell what became of an attempt: what is at its destinations is not known from here on.
    Possible,
}
