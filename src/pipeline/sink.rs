//! The sink: the last stage, which is the uploader or the estimator of a dry run. Earlier stages do not
//! distinguish them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{
    PipelineError,
    estimate_stage::{self, Estimator},
    phase_cell::PhaseCell,
    sink_item::SinkItem,
    upload_stage,
};
use crate::{
    config::BatchSettings,
    domain::Estimate,
    rate::StopSignal,
    uploader::{SizeLimit, Uploader},
};

/// The destination of batches.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    /// Sends them.
    Upload(Uploader),
    /// Counts them.
    Count(Estimator),
}

impl Sink {
    /// Runs the stage.
    pub(super) fn run(
        self,
        batch: BatchSettings,
        stop: StopSignal,
        work: mpsc::Receiver<SinkItem>,
        at: PhaseCell,
    ) -> BoxFuture<'static, Result<(), PipelineError>> {
        match self {
            Self::Upload(uploader) => {
                Box::pin(upload_stage::run(uploader, batch.concurrency, stop, work, at))
            }
            Self::Count(counter) => Box::pin(estimate_stage::run(counter, stop, work)),
        }
    }

    /// Returns the size limits of batches. A dry run learns none from the API.
    pub(super) fn size_limit(&self) -> &SizeLimit {
        match self {
            Self::Upload(uploader) => uploader.size_limit(),
            Self::Count(counter) => counter.size_limit(),
        }
    }

    /// Returns the remaining wait that the API asked for.
    pub(super) fn held_for(&self) -> Duration {
        match self {
            Self::Upload(uploader) => uploader.pacer().held_for(),
            Self::Count(_) => Duration::ZERO,
        }
    }

    /// Returns the estimate of a dry run.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        match self {
            Self::Upload(_) => None,
            Self::Count(counter) => Some(counter.estimate()),
        }
    }
}
