//! What is counted while sending, and what is learnt of sizes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use tracing::warn;

/// What is counted while sending.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicI64,
    retries: AtomicI64,
    rate_limited: AtomicI64,
    batches_committed: AtomicI64,
    batches_failed: AtomicI64,
    in_flight: AtomicI64,
}

impl Traffic {
    pub(super) fn request(&self, repeated: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(i64::from(repeated), Ordering::Relaxed);
    }

    pub(super) fn turned_away(&self) {
        self.rate_limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn batch(&self, committed: bool) {
        let counter = if committed {
            &self.batches_committed
        } else {
            &self.batches_failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a batch as being worked on for as long as the result lives.
    pub(super) fn begin(&self) -> impl Drop + '_ {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// Requests of any kind, those of them that repeated an earlier one, and answers 429.
    #[must_use]
    pub fn requests(&self) -> (i64, i64, i64) {
        let of = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        (of(&self.requests), of(&self.retries), of(&self.rate_limited))
    }

    /// Batches committed and batches failed.
    #[must_use]
    pub fn batches(&self) -> (i64, i64) {
        (
            self.batches_committed.load(Ordering::Relaxed),
            self.batches_failed.load(Ordering::Relaxed),
        )
    }

    /// Batches being worked on.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Whatever ends the work ends the counting.
struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many tokens a batch may have, as far as this run has learnt from refusals of size.
#[derive(Debug, Clone)]
pub struct SizeLimit(Arc<AtomicUsize>);

impl SizeLimit {
    /// Begins with what is configured.
    #[must_use]
    pub fn new(max_tokens: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(max_tokens)))
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether that is less than before.
    pub(super) fn lower(&self, max_tokens: usize) -> bool {
        let lowered = max_tokens.max(1);
        let is_less = self.0.fetch_min(lowered, Ordering::Relaxed) > lowered;
        if is_less {
            warn!(
                max_tokens = lowered,
                "the API refused a batch for its size: smaller ones from here on"
            );
        }
        is_less
    }
}
