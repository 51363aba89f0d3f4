//! A run, its checkpoints and its counters.

use std::sync::Arc;

use super::write_numbers::Writes;
use crate::domain::{Counters, RunId, SourceKey, Tally};

/// A run that this process works on.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its ID in the ledger.
    pub id: RunId,
    /// The number of this process among those that worked on the run, from 1.
    pub epoch: i32,
    /// An earlier process started it.
    pub resumed: bool,
    /// `tally` includes every row up to here.
    pub cursor: Option<SourceKey>,
    /// The tally up to the cursor.
    pub tally: Tally,
    /// Counts of earlier processes.
    pub counters: Counters,
    /// An unfinished run that was not resumed because it covers other rows.
    pub left: Option<RunId>,
    /// The numbers of this process's writes to the run's row.
    pub(super) writes: Arc<Writes>,
}

impl Run {
    /// Creates a run that no process has worked on.
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

/// The progress of a run. A row counts as selected once it has an outcome, so a run that ends early does not
/// count the rest.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// The greatest key up to which every row is settled; `None` leaves the cursor unchanged.
    pub cursor: Option<&'a SourceKey>,
    /// The tally up to the cursor.
    pub up_to_cursor: Tally,
    /// The tally of the whole run.
    pub tally: Tally,
    /// Counts, including those of earlier processes.
    pub counters: Counters,
}
