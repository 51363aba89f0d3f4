//! A canary: the first tokens go one by one, each verified at its provider, and only if they arrive does the bulk open.

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
    uploader::{TokenOutcome, TokensFinished},
};

/// What is asked of the first tokens of a run. It counts what this process sends: a run that is gone on with, and asked for
/// a canary again, begins with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// How many tokens go one by one. If there are fewer, all of them do.
    pub tokens: NonZeroU64,
    /// So many of them may fail.
    pub failures: u64,
}

/// Reasons that are named when it fails.
const REASONS: usize = 3;

/// Stands before the uploader and lets nothing else pass until the canary's tokens have their ends.
#[derive(Debug, Clone)]
pub(super) struct CanaryGate {
    canary: Canary,
    watched: Arc<Mutex<Watched>>,
    stop: StopSignal,
    at: PhaseCell,
}

/// How the canary's tokens ended.
#[derive(Debug, Default)]
struct Watched {
    committed: i64,
    failed: i64,
    /// The first reasons that differ.
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

    /// Tokens came to an end.
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

    /// Hands the canary's tokens on one after the other, each when the one before has its end; then, if it did not fail,
    /// everything else. The chunker has seen to it that those come first, and alone.
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
                // Without an end for each there is no verdict: whatever stopped the run is why it ends.
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

    /// The verdict; it ends the run if it is a bad one.
    fn opens(&self, sent: u64) -> bool {
        let watched = self.watched();
        let Canary { tokens, failures } = self.canary;
        if watched.failed.unsigned_abs() > failures {
            self.stop.trigger(StopReason::Canary(format!(
                "the canary failed: {} of its {sent} tokens did not arrive, and {failures} may ({}). Nothing else was sent. \
                 `tokenferry failures` lists them: correct what they have in common, or allow for some with \
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
                "the canary arrived: the rest follows"
            );
        }
        true
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Every change under the lock is complete before anything can panic.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
