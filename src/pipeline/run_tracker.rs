//! The run tracker: updates the ledger's cursor and the progress of an upload while the stages work.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use fail::fail_point;
use tokio::time::{sleep, timeout};

use super::{
    PipelineError,
    checkpointer::{Checkpointer, Snapshot},
    phase_cell::PhaseCell,
    progress::TICK,
    session::Session,
    sink::Sink,
    unchanged_ranges::RangeSeal,
};
use crate::{
    domain::Estimate,
    ledger::{Checkpoint, LedgerError},
    report::View,
};

/// The longest interval between checkpoints.
const RECORD_AT_LEAST: Duration = Duration::from_secs(2);

/// Tracks an upload or a dry run.
pub(super) struct RunTracker<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) checkpointer: Arc<Checkpointer>,
    /// The current phase.
    pub(super) phase: PhaseCell,
    /// Seals the unchanged ranges that the run finds, if it looks for any.
    pub(super) range_seal: OnceLock<RangeSeal>,
    sink: Sink,
}

impl<'a> RunTracker<'a> {
    pub(super) fn new(
        session: &'a Session<'a>,
        checkpointer: Arc<Checkpointer>,
        sink: Sink,
        phase: PhaseCell,
    ) -> Self {
        Self {
            session,
            checkpointer,
            phase,
            range_seal: OnceLock::new(),
            sink,
        }
    }

    /// Moves the ledger's cursor. Ends only if the ledger cannot be written.
    pub(super) async fn write_checkpoints(&self) -> PipelineError {
        match self.write_progress().await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn write_progress(&self) -> Result<Infallible, PipelineError> {
        let Session { ledger, run, .. } = self.session;
        loop {
            // Without changes the totals are still written, for rows beyond the cursor.
            let _ = timeout(RECORD_AT_LEAST, self.checkpointer.moved()).await;
            let snapshot = self.checkpointer.snapshot();
            fail_point!("cursor");
            ledger.advance(run, &self.checkpoint(&snapshot)).await?;
            ledger.write_events(run).await;
            sleep(TICK).await;
        }
    }

    /// Records the estimate of a dry run.
    pub(super) async fn record_estimate(&self) -> Result<(), LedgerError> {
        let Session { ledger, run, .. } = self.session;
        if let Some(estimate) = self.estimate() {
            ledger.estimate(run, &estimate).await?;
        }
        fail_point!("cursor");
        Ok(())
    }

    /// Builds the checkpoint for this state.
    pub(super) fn checkpoint<'s>(&self, snapshot: &'s Snapshot) -> Checkpoint<'s> {
        Checkpoint {
            cursor: snapshot.cursor.as_ref(),
            up_to_cursor: snapshot.closed,
            tally: snapshot.live,
            counters: self.session.counters(),
        }
    }

    /// Updates the view.
    pub(super) fn renew(&self, view: &mut View) {
        view.phase = self.phase.now();
        view.tally = self.checkpointer.snapshot().live;
        view.failures = self.checkpointer.failed.by_code();
        view.in_flight = self.session.control.meter.in_flight();
        view.held_for = view.held_for.max(self.sink.held_for());
    }

    /// Returns the estimate of a dry run.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        self.sink.estimate()
    }
}
