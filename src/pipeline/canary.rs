//! The canary: the first tokens are sent one by one and verified at their providers; only if they succeed is
//! the rest sent.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;
use tracing::info;

use super::{
    PipelineError,
    phase_cell::PhaseCell,
    sink_item::{SinkItem, barrier},
};
use crate::{
    domain::{Phase, StopReason},
    rate::StopSignal,
    report::CanaryCount,
    uploader::{TokenOutcome, TokensFinished},
};

/// The canary requested for a run. It counts tokens that this process sends: a resumed run with a canary
/// starts another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// The number of tokens to send one by one, or all if there are fewer.
    pub tokens: NonZeroU64,
    /// The number of them that may fail.
    pub failures: u64,
}

/// The most reasons that are named on failure.
const REASONS: usize = 3;

/// Holds everything else back from the uploader until the canary's tokens have outcomes.
#[derive(Debug, Clone)]
pub(super) struct CanaryGate {
    canary: Canary,
    watched: Arc<Mutex<Watched>>,
    stop: StopSignal,
    at: PhaseCell,
}

/// The outcomes of the canary's tokens.
#[derive(Debug, Default)]
struct Watched {
    committed: i64,
    failed: i64,
    /// The first distinct reasons.
    reasons: Vec<String>,
}

impl CanaryGate {
    pub(super) fn new(canary: Canary, stop: StopSignal, at: PhaseCell) -> Self {
        Self {
            canary,
            watched: Arc::default(),
            stop,
            at,
        }
    }

    /// Counts tokens with an outcome.
    pub(super) fn watch(&self, settled: &TokensFinished) {
        let mut watched = self.watched();
        match &settled.end {
            TokenOutcome::Committed => watched.committed += settled.count,
            TokenOutcome::Failed(reason) => {
                watched.failed += settled.count;
                let text = format!("{}: {}", reason.code, reason.text);
                if watched.reasons.len() < REASONS && !watched.reasons.contains(&text) {
                    watched.reasons.push(text);
                }
            }
        }
    }

    /// Returns how many of the canary's tokens have an outcome.
    pub(super) fn count(&self) -> CanaryCount {
        let watched = self.watched();
        let tokens = self.canary.tokens.get();
        let settled = watched.committed.unsigned_abs() + watched.failed.unsigned_abs();
        CanaryCount {
            settled: settled.min(tokens),
            tokens,
        }
    }

    /// Forwards the canary's tokens one by one, each after the outcome of the previous one; then everything
    /// else, unless the canary failed. The chunker emits the canary's tokens first, one per batch.
    pub(super) async fn run(
        self,
        mut work: mpsc::Receiver<SinkItem>,
        delivery: mpsc::Sender<SinkItem>,
    ) -> Result<(), PipelineError> {
        let mut sent = 0;
        while sent < self.canary.tokens.get() {
            let Some(next) = work.recv().await else { break };
            let is_token = matches!(next, SinkItem::Batch(_));
            if delivery.send(next).await.is_err() {
                return Ok(());
            }
            if is_token {
                sent += 1;
                // Without an outcome for each there is no verdict: the stop has its own reason.
                if !barrier(&delivery).await || self.stop.is_triggered() {
                    return Ok(());
                }
            }
        }
        if !self.opens(sent) {
            return Ok(());
        }
        self.at.enter(Phase::Sending);
        while let Some(next) = work.recv().await {
            if delivery.send(next).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Decides whether the rest is sent, and stops the run if not.
    fn opens(&self, sent: u64) -> bool {
        let watched = self.watched();
        let Canary { tokens, failures } = self.canary;
        if watched.failed.unsigned_abs() > failures {
            self.stop.trigger(StopReason::Canary(format!(
                "the canary failed: {} of its {sent} tokens failed, {failures} may ({}). Nothing else was sent. \
                 `tokenferry failures` lists them: fix what they have in common, or allow some with \
                 --canary-failures, and run `tokenferry migrate --canary {tokens}` again",
                watched.failed,
                watched.reasons.join("; "),
            )));
            return false;
        }
        if sent > 0 {
            info!(
                committed = watched.committed,
                failed = watched.failed,
                "canary succeeded, sending the rest"
            );
        }
        true
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // A poisoned lock still guards consistent data: changes under it complete before anything can panic.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
