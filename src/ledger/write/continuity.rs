//! Continuity of the ledger: a database that was restored, or a lagging replica that took over, has lost its
//! latest commits.
//!
//! Every write to a run's row has a number. It succeeds only if the row still has the number that this
//! process wrote last, and if every outcome that was confirmed since then is still there. Intents check the
//! number too, so that nothing is sent on the word of a ledger that went back in time. Each process starts
//! with a random number, because such a ledger assigns the same IDs again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::types::Uuid;

use super::{BatchRef, Ledger, LedgerError, Run};

/// Outcomes of batches that the database confirmed, and that no checkpoint has found again since.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Outcomes(Mutex<Vec<Uuid>>);

impl Outcomes {
    pub(super) fn add(&self, batch: BatchRef) {
        self.lock().push(batch.nonce);
    }

    pub(super) fn to_find(&self) -> Vec<Uuid> {
        self.lock().clone()
    }

    /// Removes outcomes that were found.
    pub(super) fn found(&self, found: &[Uuid]) {
        self.lock().retain(|nonce| !found.contains(nonce));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Uuid>> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Returns an error if a statement did not find the run as this process knows it.
    pub(super) async fn expect_ours(&self, run: &Run, found: bool) -> Result<(), LedgerError> {
        if found {
            Ok(())
        } else {
            Err(self.why_not_ours(run).await)
        }
    }

    /// Explains why a statement did not find the run or its records.
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
            // Another process considered this one gone and ended the run.
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

    /// Checks a batch that a statement did not change: either the statement was a repetition, or the row is
    /// not the one that this process wrote.
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
                "batch {} is {state}, not {expected}",
                batch.id
            ))),
            None => Err(self.went_back().await),
        }
    }
}
