//! The last stage of a dry run: counts what an upload would send.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::sync::mpsc;

use super::{PipelineError, checkpointer::Checkpointer, sink_item::SinkItem};
use crate::{
    config::{ApiSettings, RateLimit},
    descope::RequestBody,
    domain::{Batch, Call, Estimate, Subject, Tally},
    rate::{Pacer, StopSignal},
    uploader::SizeLimit,
};

/// The full batches that are sent before the first larger one.
const BATCHES_BEFORE_GROWTH: i64 = 2;

/// The counters, shared by the stage and its readers.
#[derive(Debug, Clone)]
pub(super) struct Estimator {
    checkpointer: Arc<Checkpointer>,
    rate_limit: RateLimit,
    fetch_limit: RateLimit,
    size_limit: SizeLimit,
    counted: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    batches: AtomicI64,
    /// The batches with as many tokens as allowed, of each subject in the order of `Subject::ALL`.
    full: [AtomicI64; 2],
    single: AtomicI64,
    bytes: AtomicI64,
    fetches: AtomicI64,
}

impl Estimator {
    /// Returns counters for a run at this rate.
    pub(super) fn new(
        checkpointer: Arc<Checkpointer>,
        settings: &ApiSettings,
        rate_limit: RateLimit,
        size_limit: SizeLimit,
    ) -> Self {
        Self {
            checkpointer,
            rate_limit,
            fetch_limit: settings.lookup.users,
            size_limit,
            counted: Arc::default(),
        }
    }

    /// Returns the size limits of batches, as earlier runs learned them.
    pub(super) fn size_limit(&self) -> &SizeLimit {
        &self.size_limit
    }

    /// Returns true if the real run may send larger batches: it has enough of them to begin.
    fn is_upper_bound(&self) -> bool {
        Subject::ALL
            .into_iter()
            .zip(&self.counted.full)
            .any(|(subject, full)| {
                full.load(Ordering::Relaxed) > BATCHES_BEFORE_GROWTH && self.size_limit.may_grow(subject)
            })
    }

    /// Returns the estimate so far.
    pub(super) fn estimate(&self) -> Estimate {
        let batches = self.counted.batches.load(Ordering::Relaxed);
        let fetches = self.counted.fetches.load(Ordering::Relaxed);
        // Uploads and fetches overlap.
        let fetching = Pacer::time_for(self.fetch_limit, fetches);
        let sending = Pacer::time_for(self.rate_limit, batches);
        Estimate {
            batches,
            requests: batches,
            single_requests: self.counted.single.load(Ordering::Relaxed),
            bytes: self.counted.bytes.load(Ordering::Relaxed),
            fetches,
            duration_s: sending.max(fetching).as_secs_f64(),
            at_most: self.is_upper_bound(),
        }
    }

    /// Counts tokens that would be fetched.
    pub(super) fn fetches(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.counted.fetches.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a batch, whose tokens are treated as committed.
    fn count(&self, batch: &Batch) {
        let bytes = RequestBody::size(batch);
        self.counted.batches.fetch_add(1, Ordering::Relaxed);
        if batch.call == Call::Batch && batch.items.len() >= self.size_limit.get(batch.subject).tokens {
            let [user, tenant] = &self.counted.full;
            let full = match batch.subject {
                Subject::User => user,
                Subject::Tenant => tenant,
            };
            full.fetch_add(1, Ordering::Relaxed);
        }
        self.counted
            .single
            .fetch_add(i64::from(batch.call == Call::Single), Ordering::Relaxed);
        self.counted
            .bytes
            .fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        for of_page in batch.items.chunk_by(|one, next| one.page == next.page) {
            let committed = i64::try_from(of_page.len()).unwrap_or(i64::MAX);
            let ended = Tally {
                committed,
                ..Tally::default()
            };
            self.checkpointer.settle(of_page[0].page, ended);
        }
    }
}

/// Counts until the input ends or the run is stopped.
pub(super) async fn run(
    counter: Estimator,
    stop: StopSignal,
    mut work: mpsc::Receiver<SinkItem>,
) -> Result<(), PipelineError> {
    while let Some(next) = work.recv().await {
        if stop.is_triggered() {
            break;
        }
        match next {
            SinkItem::Batch(batch) => counter.count(&batch),
            SinkItem::Barrier(reached) => {
                // The receiver may be gone if the run was stopped.
                let _ = reached.send(());
            }
        }
    }
    Ok(())
}
