//! The ledger: the only state of the program, with every batch that was sent and the outcome of every token.
//!
//! The intent to send a batch is committed before its request leaves, and its outcome in one transaction
//! after the response. From its intent on, a batch's row holds its tokens: see `write::packed`.
//!
//! All SQL of the ledger is in this folder and is checked at compile time, but for that of the schema. A
//! statement that changes something can be repeated if its response was lost; the repetition changes nothing.
//! `write` holds the statements of runs, `read` those of reports and diagnostics.

mod error;
mod fingerprint_key;
mod former_names;
mod lock_holder;
mod order_key;
mod pending_deletions;
mod read;
mod retry;
mod schema;
mod session;
mod target;
mod upload;
mod write;

use std::sync::{Arc, atomic::AtomicBool};

pub use error::LedgerError;
pub use former_names::Sibling;
pub use lock_holder::LockKind;
pub use read::{
    ActiveRun, AppOutcomes, BatchRecord, Durability, FailedToken, FailureChange, FailureGroup,
    FailuresByCode, FindingRecord, History, LATENCY_BOUNDS, LastOutcome, Latency, LedgerDiagnostics,
    LedgerReader, Listed, ListedRun, Listing, MigrationState, Missing, PreviousRun, RollbackRecord,
    RowOutcome, RunEvent, RunPair, RunReport, Step, Timeline,
};
pub use schema::State;
pub use write::{
    BatchOutcome, BatchRef, Checkpoint, Committed, FailedRow, IntendedDeletion, Lock, QuotaTerms,
    RemainingTokens, Reservation, RollbackCandidate, RollbackRun, Rows, Run, SharedQuota, Unsettled,
    VerifyRun,
};
use write::{Outcomes, TokenFilters};

use crate::{
    config::LedgerAccess,
    domain::EventLog,
    postgres::{Lease, Patience, Pool},
    secret::FingerprintKey,
};

/// An open ledger whose schema is current.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: Pool,
    migration: String,
    /// The project and the base URL that tokens are sent to, once they are known.
    target: Option<Arc<str>>,
    key: FingerprintKey,
    patience: Patience,
    event_log: EventLog,
    /// Set once a warning said that events could not be written.
    events_failed: Arc<AtomicBool>,
    token_filters: Arc<TokenFilters>,
    outcomes: Arc<Outcomes>,
}

impl Ledger {
    /// Opens the ledger for a run: creates or updates the schema and reads the fingerprint key. `connections`
    /// limits the statements that run at once. `patience` limits how long the database may be unreachable
    /// later.
    ///
    /// # Errors
    /// If the database is unreachable or denies access, the ledger is newer than this program, or its pepper
    /// changed.
    pub async fn open(
        access: &LedgerAccess,
        connections: u32,
        patience: &Patience,
    ) -> Result<Self, LedgerError> {
        let pool = session::pool(access, connections, patience);
        let session = pool.acquire(patience.for_statement()).await?;
        Self::set_up(access, pool, session, patience).await
    }

    /// Opens the ledger like [`open`](Self::open), but does not create it.
    ///
    /// # Errors
    /// [`LedgerError::Absent`] if there is no ledger, otherwise as for [`open`](Self::open).
    pub async fn open_existing(
        access: &LedgerAccess,
        connections: u32,
        patience: &Patience,
    ) -> Result<Self, LedgerError> {
        let pool = session::pool(access, connections, patience);
        let mut session = pool.acquire(patience.for_statement()).await?;
        schema::expect_present(&mut session, &access.ledger.schema).await?;
        Self::set_up(access, pool, session, patience).await
    }

    async fn set_up(
        access: &LedgerAccess,
        pool: Pool,
        mut session: Lease,
        patience: &Patience,
    ) -> Result<Self, LedgerError> {
        schema::check_encoding(&mut session).await?;
        schema::migrate(&mut session, &access.ledger.schema).await?;
        let key = fingerprint_key::fetch_or_make(&mut session, access.ledger.pepper.as_ref()).await?;
        session.done();
        Ok(Self {
            pool,
            migration: access.migration.clone(),
            target: None,
            key,
            patience: patience.clone(),
            event_log: EventLog::default(),
            events_failed: Arc::default(),
            token_filters: Arc::default(),
            outcomes: Arc::default(),
        })
    }

    /// The migration's name.
    #[must_use]
    pub fn migration(&self) -> &str {
        &self.migration
    }

    /// Sets the target, so that tokens count that other migrations sent there.
    #[must_use]
    pub fn bound_to(mut self, target: &str) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The key behind all fingerprints.
    #[must_use]
    pub fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
