//! The upload stage: keeps the configured number of batches in flight.

use tokio::{sync::mpsc, task::JoinSet};
use tracing::Instrument;

use super::{PipelineError, phase_cell::PhaseCell, sink_item::SinkItem};
use crate::{domain::Phase, rate::StopSignal, uploader::Uploader};

/// Delivers batches until the input ends, then deferred ones. The uploader obeys a stop: batches in flight
/// finish, and no new ones are sent.
pub(super) async fn run(
    uploader: Uploader,
    concurrency: usize,
    stop: StopSignal,
    mut work: mpsc::Receiver<SinkItem>,
    at: PhaseCell,
) -> Result<(), PipelineError> {
    let mut in_flight: JoinSet<Result<(), PipelineError>> = JoinSet::new();
    let taken = take(&uploader, concurrency, &stop, &mut work, &mut in_flight).await;
    // Releases waiting senders.
    drop(work);
    let drained = drain(&mut in_flight).await;
    taken.and(drained)?;
    if uploader.has_deferred() {
        at.enter(Phase::LastChances);
    }
    Ok(uploader.deliver_deferred().await?)
}

/// Takes work until the input ends or a delivery fails.
async fn take(
    uploader: &Uploader,
    concurrency: usize,
    stop: &StopSignal,
    work: &mut mpsc::Receiver<SinkItem>,
    in_flight: &mut JoinSet<Result<(), PipelineError>>,
) -> Result<(), PipelineError> {
    while let Some(next) = work.recv().await {
        match next {
            SinkItem::Batch(batch) => {
                while in_flight.len() >= concurrency {
                    one(in_flight).await?;
                }
                if stop.is_triggered() {
                    break;
                }
                let uploader = uploader.clone();
                in_flight.spawn(async move { Ok(uploader.deliver(batch).await?) }.in_current_span());
            }
            SinkItem::Barrier(reached) => {
                drain(in_flight).await?;
                uploader.deliver_deferred().await?;
                // The receiver may be gone if the run was stopped.
                let _ = reached.send(());
            }
        }
    }
    Ok(())
}

async fn one(in_flight: &mut JoinSet<Result<(), PipelineError>>) -> Result<(), PipelineError> {
    match in_flight.join_next().await {
        Some(Ok(delivered)) => delivered,
        Some(Err(error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// Lets all deliveries finish, even if one fails, so that sent requests get an outcome.
async fn drain(in_flight: &mut JoinSet<Result<(), PipelineError>>) -> Result<(), PipelineError> {
    let mut first = Ok(());
    while !in_flight.is_empty() {
        let delivered = one(in_flight).await;
        if first.is_ok() {
            first = delivered;
        }
    }
    first
}
