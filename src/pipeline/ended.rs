//! The result of a run.

use super::PipelineError;
use crate::{
    domain::{Estimate, Mode, Rollback, RunId, RunStatus, StopReason, Tally, Verification},
    ledger::Counters,
};

/// The result of a run.
#[derive(Debug)]
pub struct Ended {
    /// The run.
    pub run_id: RunId,
    /// The mode.
    pub mode: Mode,
    /// True if an earlier process started it.
    pub resumed: bool,
    /// The status in the ledger.
    pub status: RunStatus,
    /// The reason for an early end.
    pub stopped: Option<StopReason>,
    /// The counts.
    pub tally: Tally,
    /// Requests and time, including earlier processes.
    pub counters: Counters,
    /// Batches committed and failed by this process.
    pub batches: (i64, i64),
    /// The estimate of a dry run.
    pub estimate: Option<Estimate>,
    /// The results of a verification.
    pub verification: Option<Verification>,
    /// The results of a rollback.
    pub rollback: Option<Rollback>,
    /// The error that ended the run.
    pub error: Option<PipelineError>,
}
