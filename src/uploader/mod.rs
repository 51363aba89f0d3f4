//! Uploader: sends batches, paced, retried, isolated and reconciled; records the intent before and the outcome after, in the
//! ledger.
//!
//! The promise is kept here: nothing that may be stored already is sent again without asking, and nothing is called
//! committed before the API said so.
//!
//! The stages of an [`Uploader`] are functions over one context: `delivery` sends a batch in as many parts as it
//! takes, `attempt` sends one part until its outcome is known, `rejection` takes a refused one apart, `unresolved` reads back
//! where no answer came, and `final_pass` gives the deferred ones their last chance.

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
mod unresolved;
mod witnesses;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

pub use context::Listener;
pub use outcome::{TokenOutcome, TokensFinished};
pub use reconcile::Reconciliation;
pub use size_limit::{Size, SizeLimit};

use self::{circuit_breaker::CircuitBreaker, context::Context, deferred::DeferredQueue};
use crate::{
    config::Settings,
    descope::Client,
    domain::Batch,
    ledger::{Ledger, LedgerError, Run, Unsettled},
    rate::{Pacer, RunControl},
};

/// Sends the batches of one run. Clones share one context.
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
        let size_limit = SizeLimit::new(Size {
            tokens: batch.max_tokens,
            bytes: batch.max_bytes,
        });
        Self {
            context: Arc::new(Context {
                client,
                pacer,
                ledger,
                run,
                control,
                timeout: api.timeout,
                settle_grace: api.settle_grace,
                refresh_margin: api.refresh_margin,
                retry: api.retry,
                batch,
                size_limit,
                circuit_breaker: CircuitBreaker::new(batch, settings.stop),
                deferred: DeferredQueue::default(),
                key_guard: Arc::default(),
                unresolved_keys: Mutex::default(),
                read_back_denied: AtomicBool::new(false),
                listener,
            }),
        }
    }

    /// Sends a batch, in as many parts as it takes, until every token of it has an end or waits for the final pass. The listener
    /// is called for each end.
    ///
    /// # Errors
    /// If the ledger cannot be written. Nothing more may be sent then.
    pub async fn deliver(&self, batch: Batch) -> Result<(), LedgerError> {
        // Before the intent is recorded: a request that leaves late might be taken for one that did not leave.
        self.context.client.handshake().await;
        let _in_flight = self.context.control.meter.delivery();
        for rest in delivery::deliver(&self.context, batch).await? {
            self.context.deferred.push(rest);
        }
        final_pass::deliver_overdue(&self.context).await
    }

    /// Delivers the deferred batches for the last time; what does not arrive now has failed. Only when nothing else is in flight.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn deliver_deferred(&self) -> Result<(), LedgerError> {
        final_pass::deliver_all(&self.context).await
    }

    /// Whether batches wait for the final pass.
    #[must_use]
    pub fn has_deferred(&self) -> bool {
        !self.context.deferred.is_empty()
    }

    /// Reconciles a batch that a killed process left in flight, and records the outcome. If nothing proves it, the tokens are
    /// sent again where this run `may_resend`; else it stays in flight.
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

    /// The pacer at which uploads pay.
    #[must_use]
    pub fn pacer(&self) -> &Pacer {
        &self.context.pacer
    }

    /// The sizes that batches may have, as learned so far.
    #[must_use]
    pub fn size_limit(&self) -> &SizeLimit {
        &self.context.size_limit
    }
}
