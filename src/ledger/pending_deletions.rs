//! Tokens that a rollback is deleting, or was when it was ended: they may be gone from Descope, and still count as committed.
//!
//! Nothing that relies on what is committed may begin before they are settled, which the rollback does when it is gone on with.

use std::time::Duration;

use sqlx::{PgExecutor, types::Json};

use super::{Committed, Ledger, LedgerDiagnostics, LedgerError, LedgerReader, LockKind, RollbackRun};
use crate::{
    config::LedgerAccess,
    domain::{Lifetime, PendingDeletions, Probe},
    postgres::Failure,
};

/// A deletion that is about to leave, with all it takes to find out later what became of it: the token's row in the source may
/// be another one by then.
#[derive(Debug, Clone)]
pub struct IntendedDeletion {
    /// By which Descope deletes it.
    pub token_id: String,
    /// How to ask for it; absent where an earlier version did not record that.
    pub probe: Option<Probe>,
    /// When its access token expires, in seconds since 1970, where that was sent.
    pub expiry: Option<i32>,
    /// How long ago it was about to leave, by the database's clock.
    pub age: Duration,
}

impl IntendedDeletion {
    /// What decides whether reading it back makes Descope refresh it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            expiry: self.expiry,
            // It was asked for by it, if it has one.
            has_refresh_token: self.probe.as_ref().is_none_or(|probe| probe.with_refresh_token),
        }
    }
}

impl Ledger {
    /// Records that a token was recognised and is about to be deleted.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over. Nothing may be deleted then.
    pub async fn intend_deletion(
        &self,
        of: &RollbackRun,
        token: &Committed,
        intended: &IntendedDeletion,
    ) -> Result<(), LedgerError> {
        let known = of.run.writes.known();
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "insert into rollbacks (run_id, source_key, of_run, app_id, user_id, tenant_id, token_id, probe, expiry, state)
                     select runs.id, $3, $4, $5, $6, $7, $8, $9, $10, 'deleting'
                     -- Locked, so that a process that takes the run over either sees this or keeps it from being written.
                     from runs where runs.id = $1 and runs.epoch = $2 and runs.writes between $11 and $12 for share
                     on conflict (run_id, source_key) do update set token_id = excluded.token_id, probe = excluded.probe,
                            expiry = excluded.expiry, state = 'deleting', begun_at = now(), ended_at = null
                     where rollbacks.state in ('deleting', 'removed', 'gone')",
                    of.run.id,
                    of.run.epoch,
                    token.key.as_str(),
                    of.rollback_request.of_run,
                    token.destination.app_id,
                    token.destination.user_id,
                    token.destination.tenant_id,
                    intended.token_id,
                    intended.probe.as_ref().map(Json) as _,
                    intended.expiry,
                    known.start(),
                    known.end(),
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(&of.run, done.rows_affected() > 0).await
    }

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
        let found = find(&mut self.connection, &self.migration).await;
        Ok(found.map_err(Failure::from)?)
    }
}

impl LedgerDiagnostics {
    /// What a rollback left, if anything. Only of a ledger that is up to date.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pending_deletions(&mut self) -> Result<Option<PendingDeletions>, LedgerError> {
        let found = find(&mut self.connection, &self.access.migration).await;
        Ok(found.map_err(Failure::from)?)
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
