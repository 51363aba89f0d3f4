//! A ledger that goes back in time under a run: it is restored to an earlier state, or a replica that lagged takes over.
//!
//! Such a database has lost the latest of what it had confirmed. So each writing of a run's books has a number, and lands only
//! where the run's row has the number that this process left there, and where every outcome still is that was confirmed since the
//! writing before. Intents look at the number, too, so that nothing leaves on the word of a ledger that went back. A process begins
//! with a number of its own, since in such a ledger others are given the same ids.

use std::{
    ops::RangeInclusive,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use sqlx::types::Uuid;

use super::{BatchRef, Ledger, LedgerError, Run};

/// Numbers the writings of a run's books by one process.
#[derive(Debug)]
pub(super) struct Writes {
    /// What the process writes when it begins the run or takes it up.
    pub(super) first: i64,
    /// The last one that is known to have landed.
    confirmed: AtomicI64,
    /// The last one that was begun. It may have been given up, and landed all the same, or do so later.
    begun: AtomicI64,
}

/// One writing. Repeated, it has the same number, and finds it there if its answer was lost.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) number: i64,
    /// The least number that the run's row may have before.
    pub(super) after: i64,
}

impl Writes {
    /// The upper half is drawn, the lower one counts.
    pub(super) fn draw() -> Self {
        let first = i64::from(rand::random::<u32>() >> 1) << u32::BITS;
        Self {
            first,
            confirmed: first.into(),
            begun: first.into(),
        }
    }

    /// The numbers that the run's row may have now.
    pub(super) fn known(&self) -> RangeInclusive<i64> {
        self.confirmed.load(Ordering::Acquire)..=self.first | i64::from(u32::MAX)
    }

    pub(super) fn begin(&self) -> Write {
        Write {
            after: *self.known().start(),
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
        }
    }

    pub(super) fn confirm(&self, write: &Write) {
        self.confirmed.fetch_max(write.number, Ordering::AcqRel);
    }
}

/// Outcomes of batches that the database confirmed, and that no writing of the books has found there since.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Mutex<Vec<Uuid>>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writing_that_was_given_up_may_have_landed_and_never_lands_over_a_later_one() {
        let writes = Writes::draw();
        let first = writes.begin();
        assert_eq!((first.after, first.number), (writes.first, writes.first + 1));
        writes.confirm(&first);
        let given_up = writes.begin();
        let next = writes.begin();
        assert!((next.after..=next.number).contains(&given_up.number));
        assert!(!(given_up.after..=given_up.number).contains(&next.number));
        writes.confirm(&next);
        // A ledger that has lost the last of them, and one in which another process has begun.
        assert!(!writes.known().contains(&given_up.number));
        assert!(!writes.known().contains(&Writes::draw().first));
    }
}
