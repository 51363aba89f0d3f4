//! How a run ended.

use super::PipelineError;
use crate::{
    domain::{Estimate, Mode, Rollback, RunId, RunStatus, StopReason, Tally, Verification},
    ledger::Counters,
};

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The run.
    pub run_id: RunId,
    /// What it did.
    pub mode: Mode,
    /// True if an earlier process began it.
    pub resumed: bool,
    /// Where it stands now.
    pub status: RunStatus,
    /// Why it ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The books.
    pub tally: Tally,
    /// Requests and time, earlier processes included.
    pub counters: Counters,
    /// Batches committed and failed by this process.
    pub batches: (i64, i64),
    /// What a dry run expects of the real one.
    pub estimate: Option<Estimate>,
    /// What reading tokens back found.
    pub verification: Option<Verification>,
    /// What became of the tokens that were to be deleted.
    pub rollback: Option<Rollback>,
    /// What went wrong, where it was an error that ended the run.
    pub error: Option<PipelineError>,
}
