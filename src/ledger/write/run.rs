//! A run as a process works on it.

use std::sync::Arc;

use super::write_numbers::Writes;
use crate::domain::{RunId, SourceKey, Tally};

/// A run that this process works on.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id in the ledger.
    pub id: RunId,
    /// Which of the processes that worked on it this is, from 1.
    pub epoch: i32,
    /// Whether an earlier process began it.
    pub resumed: bool,
    /// Every row up to here is in `tally`.
    pub cursor: Option<SourceKey>,
    /// The books up to the cursor.
    pub tally: Tally,
    /// What earlier processes counted.
    pub counters: Counters,
    /// An unfinished run that was not taken up, as it is about other rows.
    pub left: Option<RunId>,
    /// The numbers of the times that this process writes its books.
    pub(super) writes: Arc<Writes>,
}

impl Run {
    /// A run that nobody has worked on.
    pub(super) fn new(id: RunId, writes: Writes) -> Self {
        Self {
            id,
            epoch: 1,
            resumed: false,
            cursor: None,
            tally: Tally::default(),
            counters: Counters::default(),
            left: None,
            writes: Arc::new(writes),
        }
    }
}

/// How a run stands. As selected counts what has an end: of a run that ends early, the rest is none of its books.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// The greatest key that everything is settled up to; `None` leaves it where it was.
    pub cursor: Option<&'a SourceKey>,
    /// The books up to the cursor.
    pub up_to_cursor: Tally,
    /// The books of the whole run.
    pub tally: Tally,
    /// What was counted, earlier processes included.
    pub counters: Counters,
}

/// What a run counts beside tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Requests that carried tokens, or asked what became of them.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Answers 429.
    pub rate_limited: i64,
    /// Requests that asked who and what exists, beside the others.
    pub lookups: i64,
    /// Seconds that processes worked on it.
    pub active_seconds: f64,
}
