//! End of a run, as its process knows it.

use super::PipelineError;
use crate::domain::{RunStatus, StopReason, Summary};

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The run, without what only the ledger knows: its codes, and the batches of earlier processes.
    pub summary: Summary,
    /// The status of the run.
    pub status: RunStatus,
    /// Why it ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The error that ended the run, if one did.
    pub error: Option<PipelineError>,
}
