//! Where the books are kept while the stages work: the ledger's cursor follows them, and so does what people see.

use std::{convert::Infallible, sync::Arc, time::Duration};

use fail::fail_point;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    PipelineError,
    checkpointer::{Checkpointer, Snapshot},
    phase_cell::PhaseCell,
    progress::{TICK, show},
    sink::Sink,
};
use crate::{
    domain::{Estimate, RunStatus},
    ledger::{Checkpoint, Counters, Ledger, Run},
    lookup::LookupClient,
    rate::RunControl,
    report::View,
};

/// How often the books are written at least.
const RECORD_AT_LEAST: Duration = Duration::from_secs(2);

/// Batches stay packed for once or twice as long. Long enough that many are filed at once; a process that is started again
/// finds little to do first.
const FILE_EVERY: Duration = Duration::from_secs(5);

/// Knows how a run stands.
pub(super) struct RunTracker {
    pub(super) ledger: Ledger,
    pub(super) run: Run,
    pub(super) checkpointer: Arc<Checkpointer>,
    delivery: Sink,
    /// Asks the API who and what exists.
    pub(super) lookup_client: Arc<LookupClient>,
    /// What the run is at.
    pub(super) at: PhaseCell,
    control: RunControl,
    begin: Instant,
}

impl RunTracker {
    pub(super) fn new(
        ledger: Ledger,
        run: Run,
        checkpointer: Arc<Checkpointer>,
        delivery: Sink,
        lookup_client: Arc<LookupClient>,
        at: PhaseCell,
        control: RunControl,
    ) -> Self {
        Self {
            ledger,
            run,
            checkpointer,
            delivery,
            lookup_client,
            at,
            control,
            begin: Instant::now(),
        }
    }

    /// Moves the ledger's cursor along, and files what is packed. Ends only if the ledger cannot be written.
    pub(super) async fn write_checkpoints(&self) -> Result<Infallible, PipelineError> {
        tokio::try_join!(self.write_progress(), self.file()).map(|(never, _)| never)
    }

    async fn file(&self) -> Result<Infallible, PipelineError> {
        loop {
            sleep(FILE_EVERY).await;
            self.ledger.file_older().await?;
        }
    }

    async fn write_progress(&self) -> Result<Infallible, PipelineError> {
        self.ledger.write_events(&self.run).await;
        loop {
            // Without news the books still tell how far rows beyond the cursor are.
            let _ = timeout(RECORD_AT_LEAST, self.checkpointer.moved()).await;
            self.record(&self.checkpointer.snapshot()).await?;
            self.ledger.write_events(&self.run).await;
            sleep(TICK).await;
        }
    }

    /// Keeps the view up to date.
    pub(super) async fn show(&self, view: &watch::Sender<View>) -> Infallible {
        show(&self.control, self.ledger.event_log(), view, |view| {
            self.renew(view);
        })
        .await
    }

    /// Writes books and cursor.
    async fn record(&self, snapshot: &Snapshot) -> Result<(), PipelineError> {
        let checkpoint = self.checkpoint(snapshot);
        fail_point!("cursor");
        Ok(self.ledger.advance(&self.run, &checkpoint).await?)
    }

    /// Writes the books for the last time.
    pub(super) async fn close(
        &self,
        snapshot: &Snapshot,
        status: RunStatus,
        why: Option<&str>,
    ) -> Result<(), PipelineError> {
        if let Some(estimate) = self.estimate() {
            self.ledger.estimate(&self.run, &estimate).await?;
        }
        let checkpoint = self.checkpoint(snapshot);
        fail_point!("cursor");
        Ok(self.ledger.finish(&self.run, &checkpoint, status, why).await?)
    }

    fn checkpoint<'a>(&self, snapshot: &'a Snapshot) -> Checkpoint<'a> {
        Checkpoint {
            cursor: snapshot.cursor.as_ref(),
            up_to_cursor: snapshot.closed,
            tally: snapshot.live,
            counters: self.counters(),
        }
    }

    fn renew(&self, view: &mut View) {
        view.phase = self.at.now();
        view.tally = self.checkpointer.snapshot().live;
        view.failures = self.checkpointer.failed.by_code();
        view.requests = self.counters().requests;
        view.in_flight = self.control.meter.in_flight();
        view.held_for = self.delivery.held_for().max(self.lookup_client.held_for());
    }

    /// Requests and time, earlier processes included.
    pub(super) fn counters(&self) -> Counters {
        let (before, meter) = (&self.run.counters, &self.control.meter);
        Counters {
            requests: before.requests + meter.requests(),
            retries: before.retries + meter.retries(),
            rate_limited: before.rate_limited + meter.rate_limited(),
            lookups: before.lookups + meter.lookups(),
            active_seconds: before.active_seconds + self.begin.elapsed().as_secs_f64(),
        }
    }

    /// Batches committed and failed by this process.
    pub(super) fn batches(&self) -> (i64, i64) {
        self.control.meter.batches()
    }

    /// What a dry run expects of the real one.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        self.delivery.estimate()
    }
}
