//! Sibling migrations: others in the same ledger that may be active.

use super::{Ledger, LedgerError, Run};

impl Ledger {
    /// Returns whether the ledger holds runs of other migrations. Batches that siblings packed since this run
    /// started are filed, so that lookups find them: two migrations may be active at the same time.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn meet_siblings(&self, run: &Run) -> Result<bool, LedgerError> {
        let siblings = self
            .with_retry(|| {
                sqlx::query!(
                    r#"select count(*) > 0 as "any!",
                              coalesce(bool_or(progressed_at > (select started_at from runs where id = $2)), false) as "active!"
                       from runs where mode = 'migrate' and migration <> $1"#,
                    self.migration,
                    run.id,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        if siblings.active {
            // Rarely needed, and a large future.
            Box::pin(self.file_left_behind_by_others(run)).await?;
        }
        Ok(siblings.any)
    }

    /// Returns the other migrations with an active run that sends to `target`.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn siblings_at_work(&self, target: &str) -> Result<Vec<String>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                "select distinct migration from runs
                 where mode = 'migrate' and status = 'running' and migration <> $1 and coalesce(nullif(api, ''), $2) = $2
                   and progressed_at > now() - interval '1 minute'
                 order by migration",
                self.migration,
                target,
            )
            .fetch_all(&self.pool)
        })
        .await
    }
}
