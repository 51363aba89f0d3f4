//! Works on batches: several in flight, each to its end.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{Instrument, error_span, info, warn};

use super::{
    Reconciliation, Size, SizeLimit,
    circuit_breaker::CircuitBreaker,
    deferred::DeferredBatches,
    intent::leaves_within,
    key_guard::{KeyGuard, KeyGuardEntry},
    reconcile::{OnInconclusive, Question},
};
use crate::{
    config::{BatchSettings, OnFailure, OnUnknown, RetrySettings, Settings},
    descope::{Client, Refusal},
    domain::{Batch, EventKind, Reason, RefreshMargin},
    ledger::{BatchOutcome, Ledger, LedgerError, RemainingTokens, Rows, Run, Unsettled},
    metrics::Meter,
    rate::{Pacer, RetryLoop, RunControl, StopSignal},
    secret::FingerprintKey,
};

/// Tokens of one page that came to the same end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensFinished {
    /// The page.
    pub page: u64,
    /// How many they are.
    pub count: i64,
    /// What became of them.
    pub end: TokenOutcome,
}

/// What becomes of a token that was sent, or was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// Stored.
    Committed,
    /// Turned down, or given up, all with the same code. Of several tokens, this is the first one's reason.
    Failed(Reason),
}

/// Shared by all tasks that send.
#[derive(Clone)]
pub struct Uploader {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader")
            .field("run", &self.shared.run.id)
            .finish_non_exhaustive()
    }
}

/// How often a batch was put aside before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Never: it may be put aside.
    Initial,
    /// Once: whatever does not arrive now has failed.
    Final,
}

/// What is done about a batch that a killed process left, and of which nothing tells whether it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnresolved {
    /// Its tokens are sent again.
    SendAgain,
    /// It stays in flight: nothing will be sent, and what may be stored must not be forgotten.
    LeaveInFlight,
}

/// Is told of every token that came to an end.
pub type Listener = Box<dyn Fn(&TokensFinished) + Send + Sync>;

struct Shared {
    listener: Listener,
    client: Client,
    pacer: Arc<Pacer>,
    ledger: Ledger,
    run: Run,
    control: RunControl,
    size_limit: SizeLimit,
    timeout: Duration,
    settle_grace: Duration,
    refresh_margin: RefreshMargin,
    retry: RetrySettings,
    batch: BatchSettings,
    circuit_breaker: CircuitBreaker,
    reading_refused: AtomicBool,
    /// Batches that no attempt got through, or whose outcome nobody tells; they get one more chance at the end.
    deferred: Mutex<VecDeque<DeferredBatches>>,
    key_guard: Arc<KeyGuard>,
    /// Of batches that stay in doubt: held until the run ends.
    doubts: Mutex<Vec<KeyGuardEntry>>,
}

impl Uploader {
    /// An uploader for one run, whose requests pay at `pacer`.
    #[must_use]
    pub fn new(
        client: Client,
        pacer: Arc<Pacer>,
        ledger: Ledger,
        run: Run,
        settings: &Settings,
        control: RunControl,
        listener: Listener,
    ) -> Self {
        let (api, batch) = (&settings.api, settings.batch);
        Self {
            shared: Arc::new(Shared {
                listener,
                client,
                pacer,
                ledger,
                run,
                control,
                size_limit: SizeLimit::new(Size {
                    tokens: batch.max_tokens,
                    bytes: batch.max_bytes,
                }),
                timeout: api.timeout,
                settle_grace: api.settle_grace,
                refresh_margin: api.refresh_margin,
                retry: api.retry,
                batch,
                circuit_breaker: CircuitBreaker::new(batch, settings.stop),
                reading_refused: AtomicBool::new(false),
                deferred: Mutex::default(),
                key_guard: Arc::default(),
                doubts: Mutex::default(),
            }),
        }
    }

    /// Sends a batch, and whatever becomes of it, until every token of it has an end or waits for its last chance.
    /// Each end is handed to the listener.
    ///
    /// # Errors
    /// If the ledger cannot be written. Nothing more may be sent then.
    pub async fn deliver(&self, batch: Batch) -> Result<(), LedgerError> {
        // Before the intent is recorded: what leaves late might be believed not to have left.
        self.client().handshake().await;
        let _in_flight = self.meter().delivery();
        self.deliver_inner(batch, Pass::Initial).await?;
        self.deliver_overdue().await
    }

    /// Finds out what became of a batch that a killed process left in flight, and records it.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn settle_left_behind(
        &self,
        left: &Unsettled,
        on_unresolved: OnUnresolved,
    ) -> Result<Reconciliation, LedgerError> {
        self.client().handshake().await;
        let span = error_span!("batch", batch_id = left.batch.id, tokens = left.token_count);
        self.settle_within(left, on_unresolved).instrument(span).await
    }

    async fn settle_within(
        &self,
        left: &Unsettled,
        on_unresolved: OnUnresolved,
    ) -> Result<Reconciliation, LedgerError> {
        let under_way_for = leaves_within(self.timeout()) + self.settle_grace();
        let question = Question {
            witnesses: &left.witnesses,
            submitted_at: left.submitted_at,
            settled_at: Instant::now() + under_way_for.saturating_sub(left.age),
            on_odd_answers: OnInconclusive::WaitOut,
        };
        let reconciliation = match (self.on_unknown(), on_unresolved) {
            (OnUnknown::Resend, OnUnresolved::SendAgain) => Reconciliation::NoProof,
            (_, OnUnresolved::SendAgain) => self.reconcile(question).await,
            (_, OnUnresolved::LeaveInFlight) => match self.reconcile(question).await {
                Reconciliation::NoProof => Reconciliation::Unknown,
                told => told,
            },
        };
        let outcome = BatchOutcome {
            batch: left.batch,
            attempts: left.attempts,
            http_status: None,
            residue: match reconciliation {
                Reconciliation::NoProof => RemainingTokens::Possible,
                _ => RemainingTokens::None,
            },
        };
        let text = match reconciliation {
            Reconciliation::Stored => {
                self.ledger().commit_batch(&outcome, Rows::Any).await?;
                None
            }
            Reconciliation::NotStored => {
                Some("its process ended before there was an answer; nothing of it is stored")
            }
            Reconciliation::NoProof => Some(
                "its process ended before there was an answer, and nothing tells whether it is stored: its tokens are sent again",
            ),
            Reconciliation::Unknown | Reconciliation::Stopped => None,
        };
        if let Some(text) = text {
            self.ledger()
                .fail_batch(&outcome, &Reason::transport("not_stored", text), &[])
                .await?;
        }
        info!(outcome = ?reconciliation, "reconciled what an earlier process left in flight");
        Ok(reconciliation)
    }

    /// Keeps the claim of a batch in doubt to the end of the run.
    pub(super) fn keep_claim(&self, claim: KeyGuardEntry) {
        claim.mark_unresolved();
        let mut doubts = self.shared.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.push(claim);
    }

    /// The attempts at one request.
    pub(super) fn attempts(&self) -> RetryLoop<'_> {
        RetryLoop::new(&self.shared.retry, &self.shared.pacer, self.stop())
    }

    /// All requests wait, as the API answered 429; or the run ends, if it has done so for too long.
    pub(super) async fn rate_limited(&self, attempts: &mut RetryLoop<'_>, retry_after: Option<Duration>) {
        let Some(wait) = attempts.rate_limited(retry_after) else {
            return;
        };
        info!(
            status = 429,
            code = "rate_limited",
            wait_s = wait.as_secs_f64(),
            "the API's quota is used up: holding all requests"
        );
        let now = Instant::now();
        self.ledger()
            .event_log()
            .record_span(EventKind::Held, now, now + wait);
        self.client().license_may_have_changed().await;
    }

    pub(super) fn warn_read_back_denied_once(&self, refusal: &Refusal) {
        if !self.shared.reading_refused.swap(true, Ordering::Relaxed) {
            warn!(
                code = %refusal.code, status = refusal.status,
                "the API does not let tokens be read back: a batch whose answer is lost is sent again once it can no longer be under way"
            );
        }
    }

    /// Tells the listener, once for each page among these.
    pub(super) fn settled(&self, pages: &[u64], end: &TokenOutcome) {
        for same in pages.chunk_by(|one, next| one == next) {
            (self.shared.listener)(&TokensFinished {
                page: same[0],
                count: i64::try_from(same.len()).unwrap_or(i64::MAX),
                end: end.clone(),
            });
        }
    }

    /// The batches that were put aside.
    pub(super) fn deferring(&self) -> &Mutex<VecDeque<DeferredBatches>> {
        &self.shared.deferred
    }

    /// So many may be put aside at once: as many as may fail in a row.
    pub(super) fn max_deferred(&self) -> usize {
        self.shared.circuit_breaker.most_batches()
    }

    /// The pacer, for whoever shows how long it is held.
    #[must_use]
    pub fn pacer(&self) -> &Pacer {
        &self.shared.pacer
    }

    /// What this run has learnt of sizes.
    #[must_use]
    pub fn size_limit(&self) -> &SizeLimit {
        &self.shared.size_limit
    }

    pub(super) fn circuit_breaker(&self) -> &CircuitBreaker {
        &self.shared.circuit_breaker
    }

    pub(super) fn key_guard(&self) -> &Arc<KeyGuard> {
        &self.shared.key_guard
    }

    pub(super) fn client(&self) -> &Client {
        &self.shared.client
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    pub(super) fn key(&self) -> &FingerprintKey {
        self.shared.ledger.key()
    }

    pub(super) fn run(&self) -> &Run {
        &self.shared.run
    }

    pub(super) fn stop(&self) -> &StopSignal {
        &self.shared.control.stop
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.shared.control.meter
    }

    pub(super) fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    pub(super) fn settle_grace(&self) -> Duration {
        self.shared.settle_grace
    }

    pub(super) fn refresh_margin_seconds(&self) -> i64 {
        self.shared.refresh_margin.seconds()
    }

    /// Whether tokens are read back whose fetching makes the API refresh them.
    pub(super) fn reads_expired(&self) -> bool {
        self.on_unknown() == OnUnknown::AskExpired
    }

    pub(super) fn retry(&self) -> RetrySettings {
        self.shared.retry
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.shared.batch.on_failure
    }

    pub(super) fn on_unknown(&self) -> OnUnknown {
        self.shared.batch.on_unknown
    }
}

/// The pages of a batch's tokens, in their order.
pub(super) fn pages(batch: &Batch) -> Vec<u64> {
    batch.items.iter().map(|item| item.page).collect()
}
