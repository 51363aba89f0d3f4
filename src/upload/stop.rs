//! One switch that ends a run early, and remembers who turned it first.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::model::StopReason;

/// Shared by all tasks of a run. Once turned, no new request leaves; what is in flight may finish.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
}

impl Stop {
    /// A switch that nobody has turned.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run; only the first reason counts.
    pub fn turn(&self, reason: StopReason) {
        // A second reason is a consequence of the first, or comes too late to matter.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Remembers why the run ends early without ending anything: its tasks are about to finish by themselves.
    pub fn note(&self, reason: StopReason) {
        // As for `turn`.
        let _ = self.reason.set(reason);
    }

    /// Ends the tasks without a reason of its own: some other error is about to be reported.
    pub fn turn_silently(&self) {
        self.token.cancel();
    }

    /// Whether it was turned.
    #[must_use]
    pub fn is_turned(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is turned.
    pub async fn turned(&self) {
        self.token.cancelled().await;
    }

    /// Why it was turned, if there is a reason.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.get().cloned()
    }

    /// Does `work`, unless the switch is turned first.
    pub async fn unless_turned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.turned() => None,
            done = work => Some(done),
        }
    }
}
