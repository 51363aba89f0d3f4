//! Circuit breaker: counts failures in a row without a commit. If there are too many, the run ends.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{BatchSettings, StopSettings};

/// The reason why nothing of a delivery was stored.
#[derive(Debug)]
pub(super) enum Failure {
    /// The reason of a whole batch.
    Batch(String),
    /// The reason of a single token that was rejected.
    Token(String),
}

impl Failure {
    pub(super) fn batch(reason: &str) -> Self {
        Self::Batch(reason.to_owned())
    }
}

/// Count of failures in a row, in tokens. A batch counts as `batch.max_tokens` tokens. A token that was sent
/// in a call of its own counts as one, because its failure says less.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    tokens: AtomicU64,
    batch: u64,
    max_batches: u32,
}

impl CircuitBreaker {
    pub(super) fn new(batch: BatchSettings, stop: StopSettings) -> Self {
        Self {
            tokens: AtomicU64::new(0),
            batch: batch.max_tokens as u64,
            max_batches: stop.after_failed_batches,
        }
    }

    /// Returns the number of batches that may fail in a row.
    pub(super) fn max_batches(&self) -> usize {
        self.max_batches as usize
    }

    /// Resets the count after a commit.
    pub(super) fn record_success(&self) {
        self.tokens.store(0, Ordering::Relaxed);
    }

    /// Counts a failure. Returns the stop reason if the limit is reached.
    pub(super) fn record_failure(&self, failure: &Failure) -> Option<String> {
        let weight = match failure {
            Failure::Batch(_) => self.batch,
            Failure::Token(_) => 1,
        };
        let tokens = self.tokens.fetch_add(weight, Ordering::Relaxed) + weight;
        (tokens >= u64::from(self.max_batches).saturating_mul(self.batch)).then(|| match failure {
            Failure::Batch(reason) => {
                format!("{} batches failed in a row: {reason}", tokens / self.batch)
            }
            Failure::Token(reason) => format!("{tokens} tokens failed in a row, the last one: {reason}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{OnFailure, OnUnknown};

    fn circuit_breaker() -> CircuitBreaker {
        let batch = BatchSettings {
            max_tokens: 5,
            grow_to: 5,
            max_bytes: 1 << 20,
            concurrency: 1,
            on_failure: OnFailure::Isolate,
            on_unknown: OnUnknown::Ask,
            verify_refresh: false,
        };
        let stop = StopSettings {
            after_failed_batches: 3,
            after_unreachable: Duration::from_secs(1),
        };
        CircuitBreaker::new(batch, stop)
    }

    #[test]
    fn the_third_batch_is_too_much_unless_something_arrived() {
        let circuit_breaker = circuit_breaker();
        let failure = Failure::batch("no");
        assert_eq!(
            (
                circuit_breaker.record_failure(&failure),
                circuit_breaker.record_failure(&failure)
            ),
            (None, None)
        );
        circuit_breaker.record_success();
        assert_eq!(
            (
                circuit_breaker.record_failure(&failure),
                circuit_breaker.record_failure(&failure)
            ),
            (None, None)
        );
        assert_eq!(
            circuit_breaker.record_failure(&failure).as_deref(),
            Some("3 batches failed in a row: no")
        );
    }

    #[test]
    fn of_tokens_by_themselves_it_takes_as_many_as_three_batches_have() {
        let circuit_breaker = circuit_breaker();
        let failure = Failure::Token("no".to_owned());
        for _ in 0..14 {
            assert_eq!(circuit_breaker.record_failure(&failure), None);
        }
        assert_eq!(
            circuit_breaker.record_failure(&failure).as_deref(),
            Some("15 tokens failed in a row, the last one: no")
        );
    }
}
