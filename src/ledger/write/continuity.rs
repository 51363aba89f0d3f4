//! A ledger that goes back in time under a run: it is restored to an earlier state, or a replica that lagged takes over.
//!
//! Such a database has lost the latest of what it had confirmed. So each writing of a run's books has a number, and lands only
//! where the run's row has the number that this process left there, and where every outcome still is that was confirmed since the
//! writing before. Intents look at the number, too, so that nothing leaves on the word of a ledger that went back. A process begins
//! with a number of its own, since in such a ledger others are given the same ids.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::types::Uuid;

use super::{BatchRef, Run};
use crate::ledger::{Ledger, LedgerError};

/// Outcomes of batches that the database confirmed, and that no writing of the books has found there since.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Outcomes(Mutex<Vec<Uuid>>);

impl Outcomes {
    pub(super) fn add(&self, batch: BatchRef) {
        self.lock().push(batch.nonce);
    }

    pub(super) fn to_find(&self) -> Vec<Uuid> {
        self.lock().clone()
    }

    /// These were found.
    pub(super) fn found(&self, found: &[Uuid]) {
        self.lock().retain(|nonce| !found.contains(nonce));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Uuid>> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Ends the run if a statement about it did not find it as this process knows it.
    pub(super) async fn expect_ours(&self, run: &Run, found: bool) -> Result<(), LedgerError> {
        if found {
            Ok(())
        } else {
            Err(self.why_not_ours(run).await)
        }
    }

    /// Why a statement did not find the run, or what it had recorded.
    pub(super) async fn why_not_ours(&self, run: &Run) -> LedgerError {
        let found = self
            .with_retry(|| {
                sqlx::query!("select epoch, writes, status from runs where id = $1", run.id)
                    .fetch_optional(&self.pool)
            })
            .await;
        match found {
            Err(error) => error,
            Ok(Some(row)) if row.epoch > run.epoch => LedgerError::TakenOver,
            // Another process took it for gone, and ended it.
            Ok(Some(row))
                if row.epoch == run.epoch
                    && run.writes.known().contains(&row.writes)
                    && row.status != "running" =>
            {
                LedgerError::TakenOver
            }
            Ok(_) => self.went_back().await,
        }
    }

    /// A statement that found nothing to change is a repetition, or the row is not the one that this process wrote.
    pub(super) async fn expect_state(&self, batch: BatchRef, expected: &str) -> Result<(), LedgerError> {
        let state = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    "select state from batches where id = $1 and nonce = $2",
                    batch.id,
                    batch.nonce
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        match state {
            Some(state) if state == expected => Ok(()),
            Some(state) => Err(LedgerError::Contradiction(format!(
                "batch {} should be {expected} and is {state}",
                batch.id
            ))),
            None => Err(self.went_back().await),
        }
    }
}
