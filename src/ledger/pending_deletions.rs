//! Tokens that a rollback is deleting, or was when it was ended: they may be gone from Descope, and still count as committed.
//!
//! Nothing that relies on what is committed may begin before they are settled, which the rollback does when it is gone on with.

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError, LedgerReader, LockKind};
use crate::{config::LedgerAccess, domain::PendingDeletions};

impl Ledger {
    /// Refuses to go on while a rollback has left tokens of which nobody knows whether they are deleted. Only with the
    /// migration's lock held: a rollback that runs has some all the time.
    ///
    /// # Errors
    /// [`LedgerError::PendingDeletions`] if there are any, or if the database stays away.
    pub async fn expect_no_pending_deletions(&self) -> Result<(), LedgerError> {
        match self.with_retry(|| find(&self.pool, &self.migration)).await? {
            None => Ok(()),
            Some(pending) => Err(LedgerError::PendingDeletions(pending)),
        }
    }

    /// The same for whoever works without the lock.
    ///
    /// # Errors
    /// The same, and [`LedgerError::Locked`] if the rollback is at work.
    pub async fn expect_no_pending_deletions_without_lock(
        &self,
        access: &LedgerAccess,
    ) -> Result<(), LedgerError> {
        match self.expect_no_pending_deletions().await {
            Err(LedgerError::PendingDeletions(_)) => {}
            other => return other,
        }
        // Whoever has the lock may be the one that is settling them.
        let lock = self.lock(access, LockKind::Migration).await?;
        let found = self.expect_no_pending_deletions().await;
        lock.release().await;
        found
    }
}

impl LedgerReader {
    /// What a rollback left, if anything.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pending_deletions(&mut self) -> Result<Option<PendingDeletions>, LedgerError> {
        Ok(find(&mut self.connection, &self.migration).await?)
    }
}

impl LedgerDiagnostics {
    /// What a rollback left, if anything. Only of a ledger that is up to date.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pending_deletions(&mut self) -> Result<Option<PendingDeletions>, LedgerError> {
        self.reader.pending_deletions().await
    }
}

/// Those of the first such rollback. A token that was sent again since, or is not committed any more, is none of them.
async fn find(
    executor: impl PgExecutor<'_>,
    migration: &str,
) -> Result<Option<PendingDeletions>, sqlx::Error> {
    sqlx::query_as!(
        PendingDeletions,
        r#"select runs.id as rollback, runs.rolls_back as "of_run!", count(*) as "tokens!"
           from rollbacks join runs on runs.id = rollbacks.run_id
                -- One look at the index for each, whatever the planner believes.
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
