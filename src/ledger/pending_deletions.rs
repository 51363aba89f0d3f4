//! Pending deletions: tokens that an ended rollback was deleting. They may be gone from Descope but still
//! count as committed.
//!
//! Work that relies on committed tokens must wait until the resumed rollback has settled them.

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError, LedgerReader, LockKind};
use crate::{config::LedgerAccess, domain::PendingDeletions};

impl Ledger {
    /// Returns an error if a rollback left pending deletions. The caller must hold the migration's lock: an
    /// active rollback always has some.
    ///
    /// # Errors
    /// [`LedgerError::PendingDeletions`] if there are any, or if the database stays unreachable.
    pub async fn expect_no_pending_deletions(&self) -> Result<(), LedgerError> {
        match self.with_retry(|| find(&self.pool, &self.migration)).await? {
            None => Ok(()),
            Some(pending) => Err(LedgerError::PendingDeletions(pending)),
        }
    }

    /// Does the same for a caller without the lock.
    ///
    /// # Errors
    /// As above, and [`LedgerError::Locked`] if the rollback is active.
    pub async fn expect_no_pending_deletions_without_lock(
        &self,
        access: &LedgerAccess,
    ) -> Result<(), LedgerError> {
        match self.expect_no_pending_deletions().await {
            Err(LedgerError::PendingDeletions(_)) => {}
            other => return other,
        }
        // The holder of the lock may be the rollback that settles them.
        let lock = self.lock(access, LockKind::Migration).await?;
        let found = self.expect_no_pending_deletions().await;
        lock.release().await;
        found
    }
}

impl LedgerReader {
    /// Returns the pending deletions of a rollback, if there are any.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pending_deletions(&mut self) -> Result<Option<PendingDeletions>, LedgerError> {
        Ok(find(&mut self.connection, &self.migration).await?)
    }
}

impl LedgerDiagnostics {
    /// Returns the pending deletions of a rollback, if there are any. The schema must be current.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pending_deletions(&mut self) -> Result<Option<PendingDeletions>, LedgerError> {
        self.reader.pending_deletions().await
    }
}

/// Finds the pending deletions of the first rollback that has some. A token counts only while it is committed
/// by the run that is rolled back.
async fn find(
    executor: impl PgExecutor<'_>,
    migration: &str,
) -> Result<Option<PendingDeletions>, sqlx::Error> {
    sqlx::query_as!(
        PendingDeletions,
        r#"select runs.id as rollback, runs.rolls_back as "of_run!", count(*) as "tokens!"
           from rollbacks join runs on runs.id = rollbacks.run_id
                -- One index lookup for each, whatever the planner estimates.
                cross join lateral (
                    select from token_rows
                    where migration = runs.migration and source_key = rollbacks.source_key and run_id = runs.rolls_back
                      and state = 'committed' offset 0
                ) as committed
           where rollbacks.state = 'deleting' and runs.migration = $1 and not runs.rehearsal
           group by runs.id order by runs.id limit 1"#,
        migration,
    )
    .fetch_optional(executor)
    .await
}
