//! Uploader: sends batches with rate limit, retry, bisection and reconciliation. It records the intent before
//! a request and the outcome after it in the ledger.
//!
//! It keeps two promises. Nothing that may already be stored is sent again before a witness was read back, if
//! the batch has one and unless `batch.on_unknown` is "resend". Nothing counts as committed before the API
//! confirmed it.
//!
//! The stages of an [`Uploader`] are functions over one context: `delivery` sends a batch in as many parts as
//! necessary, `attempt` sends one part until its outcome is known, `rejection` splits a rejected part,
//! `unresolved` reads back after a lost response, and `final_pass` sends the deferred parts one last time.

mod attempt;
mod bisect;
mod circuit_breaker;
mod context;
mod deferred;
mod delivery;
mod final_pass;
mod intent;
mod key_guard;
mod left_behind;
mod outcome;
mod reconcile;
mod rejection;
mod size_limit;
mod size_search;
mod truncation;
mod unresolved;
mod witnesses;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

pub use context::Listener;
pub use outcome::{TokenOutcome, TokensFinished};
pub use reconcile::Reconciliation;
pub use size_limit::SizeLimit;

use self::{circuit_breaker::CircuitBreaker, context::Context, deferred::DeferredQueue};
use crate::{
    config::Settings,
    descope::Client,
    domain::Batch,
    ledger::{Ledger, LedgerError, Run, Unsettled},
    rate::{Pacer, RunControl},
};

/// The sender of one run's batches. Clones share one context.
#[derive(Clone)]
pub struct Uploader {
    context: Arc<Context>,
}

impl fmt::Debug for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader")
            .field("run", &self.context.run.id)
            .finish_non_exhaustive()
    }
}

/// The limits of the API that uploads keep to.
#[derive(Debug)]
pub struct UploadLimits {
    /// The quota of requests.
    pub pacer: Arc<Pacer>,
    /// The size of batches.
    pub size: SizeLimit,
}

impl Uploader {
    /// Returns an uploader for one run.
    #[must_use]
    pub fn new(
        client: Client,
        limits: UploadLimits,
        ledger: Ledger,
        run: Run,
        settings: &Settings,
        control: RunControl,
        listener: Listener,
    ) -> Self {
        let (api, batch) = (&settings.api, settings.batch);
        Self {
            context: Arc::new(Context {
                client,
                pacer: limits.pacer,
                ledger,
                run,
                control,
                timeout: api.timeout,
                settle_grace: api.settle_grace,
                refresh_margin: api.refresh_margin,
                retry: api.retry,
                batch,
                size_limit: limits.size,
                circuit_breaker: CircuitBreaker::new(batch, settings.stop),
                deferred: DeferredQueue::default(),
                key_guard: Arc::default(),
                unresolved_keys: Mutex::default(),
                read_back_denied: AtomicBool::new(false),
                listener,
            }),
        }
    }

    /// Sends a batch in as many parts as necessary until every token has an outcome or waits for the final
    /// pass. Calls the listener for each outcome.
    ///
    /// # Errors
    /// If the ledger cannot be written. Nothing more may be sent then.
    pub async fn deliver(&self, batch: Batch) -> Result<(), LedgerError> {
        // The handshake comes before the intent: a request that leaves late could be mistaken for one that
        // never left.
        self.context.client.handshake().await;
        let _in_flight = self.context.control.meter.delivery();
        for rest in delivery::deliver(&self.context, batch).await? {
            self.context.deferred.push(rest);
        }
        final_pass::deliver_overdue(&self.context).await
    }

    /// Delivers the deferred batches one last time; tokens that are not stored then have failed. Call it only
    /// when nothing else is in flight.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn deliver_deferred(&self) -> Result<(), LedgerError> {
        final_pass::deliver_all(&self.context).await
    }

    /// Returns true if batches wait for the final pass.
    #[must_use]
    pub fn has_deferred(&self) -> bool {
        !self.context.deferred.is_empty()
    }

    /// Reconciles a batch that a killed process left in flight, and records the outcome. Without proof, its
    /// tokens are sent again if this run `may_resend`; otherwise the batch stays in flight.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn reconcile_left_behind(
        &self,
        left: &Unsettled,
        may_resend: bool,
    ) -> Result<Reconciliation, LedgerError> {
        self.context.client.handshake().await;
        left_behind::reconcile(&self.context, left, may_resend).await
    }

    /// Returns the pacer that uploads wait for.
    #[must_use]
    pub fn pacer(&self) -> &Pacer {
        &self.context.pacer
    }

    /// Returns the batch sizes that are allowed now, as learned from rejections.
    #[must_use]
    pub fn size_limit(&self) -> &SizeLimit {
        &self.context.size_limit
    }
}
