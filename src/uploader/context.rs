//! Upload context: the state that all stages of an uploader share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::warn;

use super::{
    SizeLimit,
    circuit_breaker::CircuitBreaker,
    deferred::DeferredQueue,
    key_guard::{KeyGuard, KeyGuardEntry},
    outcome::{TokenOutcome, TokensFinished},
};
use crate::{
    config::{BatchSettings, RetrySettings},
    descope::{Client, Impasse, Refusal},
    domain::{Batch, Decision, Reason, RefreshMargin, StopReason, Unsent},
    ledger::{Ledger, LedgerError, RemainingTokens, Run},
    rate::{Pacer, RetryLoop, RunControl, StopSignal},
};

/// Callback for tokens that have an outcome.
pub type Listener = Box<dyn Fn(&TokensFinished) + Send + Sync>;

/// The shared state of one run. Every stage is a function that takes it as its first argument.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) pacer: Arc<Pacer>,
    pub(super) ledger: Ledger,
    pub(super) run: Run,
    pub(super) control: RunControl,
    pub(super) timeout: Duration,
    pub(super) settle_grace: Duration,
    pub(super) refresh_margin: RefreshMargin,
    pub(super) retry: RetrySettings,
    pub(super) batch: BatchSettings,
    pub(super) size_limit: SizeLimit,
    pub(super) circuit_breaker: CircuitBreaker,
    pub(super) deferred: DeferredQueue,
    pub(super) key_guard: Arc<KeyGuard>,
    /// Keys of batches that stay unresolved: held until the run ends.
    pub(super) unresolved_keys: Mutex<Vec<KeyGuardEntry>>,
    pub(super) read_back_denied: AtomicBool,
    pub(super) listener: Listener,
}

impl Context {
    pub(super) fn stop(&self) -> &StopSignal {
        &self.control.stop
    }

    /// Returns the retry loop of one request.
    pub(super) fn attempts(&self) -> RetryLoop<'_> {
        RetryLoop::new(&self.retry, &self.pacer, self.stop())
    }

    /// Holds all requests after a 429, or ends the run if the API has responded 429 for too long.
    pub(super) async fn rate_limited(&self, attempts: &mut RetryLoop<'_>, retry_after: Option<Duration>) {
        if attempts.rate_limited(retry_after).await.is_some() {
            self.client.license_may_have_changed().await;
        }
    }

    /// Returns what a batch of this size may leave behind though its last token is not stored: an API may
    /// store only the beginning of one that is larger than the configured size.
    pub(super) fn residue_of(&self, tokens: usize) -> RemainingTokens {
        if tokens > self.batch.max_tokens {
            RemainingTokens::Possible
        } else {
            RemainingTokens::None
        }
    }

    /// Returns a time in seconds since 1970. A token that expires after it can be read back without the API
    /// refreshing it.
    pub(super) fn readable_until(&self) -> i64 {
        let now = chrono::Utc::now().timestamp();
        now.saturating_add(self.refresh_margin.seconds())
    }

    /// Reports tokens to the listener, once for each group of consecutive tokens from the same page.
    pub(super) fn report(&self, pages: &[u64], end: &TokenOutcome) {
        for same in pages.chunk_by(|one, next| one == next) {
            (self.listener)(&TokensFinished {
                page: same[0],
                count: i64::try_from(same.len()).unwrap_or(i64::MAX),
                end: end.clone(),
            });
        }
    }

    /// Records the tokens of a batch as failed that were neither committed nor rejected.
    pub(super) async fn fail_tokens(&self, batch: &Batch, reason: &Reason) -> Result<(), LedgerError> {
        let decisions: Vec<Decision> = batch
            .items
            .iter()
            .map(|item| Decision {
                key: item.key.clone(),
                destination: Some(item.destination.clone()),
                app: None,
                version: item.version,
                row_digest: Some(item.fingerprint),
                end: Unsent::Failed(reason.clone()),
            })
            .collect();
        drop(self.ledger.record_outcomes(&self.run, &decisions).await?);
        self.report(&pages(batch), &TokenOutcome::Failed(reason.clone()));
        Ok(())
    }

    /// Holds the keys of an unresolved batch until the run ends.
    pub(super) fn hold_keys(&self, keys: KeyGuardEntry) {
        keys.mark_unresolved();
        let mut held = self
            .unresolved_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.push(keys);
    }

    pub(super) fn warn_read_back_denied_once(&self, refusal: &Refusal) {
        if !self.read_back_denied.swap(true, Ordering::Relaxed) {
            warn!(
                code = %refusal.code, status = refusal.status,
                "reading back denied: a batch whose response is lost is sent again once its request can no longer be in flight"
            );
        }
    }

    /// Ends the run, since no request would succeed.
    pub(super) fn stop_at(&self, impasse: Impasse, refusal: &Refusal) {
        warn!(status = refusal.status, code = %refusal.code, "the API rejects every request, stopping the run");
        let status = refusal
            .status
            .map(|status| format!("{status} "))
            .unwrap_or_default();
        let text = format!("{status}{}: {}", refusal.code, refusal.text);
        self.stop().trigger(match impasse {
            Impasse::Credentials => StopReason::Credentials(text),
            Impasse::Endpoint => StopReason::Endpoint(text),
        });
    }
}

/// Returns the page of each token of a batch, in the batch's order.
pub(super) fn pages(batch: &Batch) -> Vec<u64> {
    batch.items.iter().map(|item| item.page).collect()
}
