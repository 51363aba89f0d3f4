//! The only state there is: which batches were sent, and what became of every token.
//!
//! The intent to send a batch is committed before its request leaves, its outcome in one transaction after the answer. What is
//! known of its tokens stands in the batch's row from the first on, and stays there once it arrived, until it is filed: see
//! `filing`.
//! All SQL of the ledger is in here, checked at compile time. Every statement that changes something may be repeated
//! when its own answer was lost, and then changes nothing.

mod error;
mod fingerprint_key;
mod former_names;
mod lock_holder;
mod pending_deletions;
mod read;
mod retry;
mod schema;
mod session;
mod target;
mod upload;
mod write;

use std::sync::{Arc, Mutex, atomic::AtomicBool};

pub use error::LedgerError;
pub use former_names::Sibling;
pub use lock_holder::LockKind;
pub use read::{
    AppOutcomes, BatchRecord, CodeCount, Durability, FailedToken, FailureGroup, FindingRecord, History,
    LATENCY_BOUNDS, LastOutcome, Latency, LedgerDiagnostics, LedgerReader, Listed, Listing, Missing,
    RollbackRecord, RunEvent, RunReport, Step, Timeline,
};
pub use schema::State;
pub use write::{
    BatchOutcome, BatchRef, Checkpoint, Committed, Counters, FailedRow, IntendedDeletion, Lock,
    RemainingTokens, RollbackCandidate, RollbackRun, Rows, Run, Unsettled, VerifyRun,
};
use write::{Outcomes, Packed};

use crate::{
    config::LedgerAccess,
    domain::EventLog,
    postgres::{Patience, Pool},
    secret::FingerprintKey,
};

/// A ledger that is open, its schema up to date.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: Pool,
    migration: String,
    /// The project and the address that tokens go to, once it is known.
    target: Option<Arc<str>>,
    key: FingerprintKey,
    patience: Patience,
    event_log: EventLog,
    /// Whether it was said that the event log could not be written.
    diary_failed: Arc<AtomicBool>,
    packed: Arc<Mutex<Packed>>,
    outcomes: Arc<Outcomes>,
    /// Held while batches are filed.
    filing: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// Opens the ledger for a run: makes or updates the schema, and takes its fingerprint key. `connections` is how many
    /// statements run at once; `patience` says how long the database may be out of reach later on.
    ///
    /// # Errors
    /// If the database does not answer or does not let us, the ledger is newer than this program, or its pepper changed.
    pub async fn open(
        access: &LedgerAccess,
        connections: u32,
        patience: &Patience,
    ) -> Result<Self, LedgerError> {
        let mut session = session::connect(access, patience.for_statement(), patience).await?;
        schema::check_encoding(&mut session).await?;
        schema::migrate(&mut session, &access.ledger.schema).await?;
        let key = fingerprint_key::fetch_or_make(&mut session, access.ledger.pepper.as_ref()).await?;
        // The pool has its own.
        session.close().await;
        Ok(Self {
            pool: session::pool(access, connections, patience),
            migration: access.migration.clone(),
            target: None,
            key,
            patience: patience.clone(),
            event_log: EventLog::default(),
            diary_failed: Arc::default(),
            packed: Arc::default(),
            outcomes: Arc::default(),
            filing: Arc::default(),
        })
    }

    /// The same, where there is a ledger already.
    ///
    /// # Errors
    /// [`LedgerError::Absent`] where there is none, and as for [`open`](Self::open).
    pub async fn open_existing(
        access: &LedgerAccess,
        connections: u32,
        patience: &Patience,
    ) -> Result<Self, LedgerError> {
        LedgerReader::open(access).await?.close().await;
        Self::open(access, connections, patience).await
    }

    /// The migration's name.
    #[must_use]
    pub fn migration(&self) -> &str {
        &self.migration
    }

    /// Tokens of other migrations count where they went to this project and address, too.
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

    /// Closes all connections, so that the server does not have to notice.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
