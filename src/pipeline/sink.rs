//! The last stage: the uploader of a real run, or the counter of a dry one. The stages before it cannot tell.

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
    uploader::{Size, SizeLimit, Uploader},
};

/// What becomes of batches.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    /// They are sent.
    Upload(Uploader),
    /// They are counted.
    Count(Estimator),
}

impl Sink {
    /// The stage itself.
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

    /// How many tokens a batch may have, as far as is known. The API teaches a dry run nothing.
    pub(super) fn size_limit(&self, batch: BatchSettings) -> SizeLimit {
        match self {
            Self::Upload(uploader) => uploader.size_limit().clone(),
            Self::Count(_) => SizeLimit::new(Size {
                tokens: batch.max_tokens,
                bytes: batch.max_bytes,
            }),
        }
    }

    /// How long the API asked us to wait, from now.
    pub(super) fn held_for(&self) -> Duration {
        match self {
            Self::Upload(uploader) => uploader.pacer().held_for(),
            Self::Count(_) => Duration::ZERO,
        }
    }

    /// What a dry run expects.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        match self {
            Self::Upload(_) => None,
            Self::Count(counter) => Some(counter.estimate()),
        }
    }
}
