//! Stop signal: ends a run early, and remembers the first reason.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::domain::StopReason;

/// The stop signal of a run, shared by all its tasks. Once it is triggered, no new request leaves; requests
/// in flight may finish.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    token: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
    limit: Arc<OnceLock<u64>>,
}

impl StopSignal {
    /// Returns a signal that is not triggered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run; only the first reason counts.
    pub fn trigger(&self, reason: StopReason) {
        // A second reason is a consequence of the first, or comes too late to matter.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Remembers that as many tokens as were asked for are on their way. Ends nothing: the tasks finish by
    /// themselves, and whatever stops them until then is the reason.
    pub fn limit_reached(&self, asked: u64) {
        // There is one limit, and it is reached once.
        let _ = self.limit.set(asked);
    }

    /// Ends the tasks without a reason of its own: some other error is about to be reported.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Tells whether it was triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is triggered.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Why it was triggered, if there is a reason.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason
            .get()
            .cloned()
            .or_else(|| self.limit.get().copied().map(StopReason::Limit))
    }

    /// Does `work`, unless the signal is triggered first.
    pub async fn run_until_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.triggered() => None,
            done = work => Some(done),
        }
    }
}
