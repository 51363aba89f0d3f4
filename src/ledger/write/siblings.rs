//! Sibling migrations: others in the same ledger that may be active.

use super::{Ledger, LedgerError};

impl Ledger {
    /// Returns whether the ledger holds runs of other migrations.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn has_siblings(&self) -> Result<bool, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                r#"select exists (select from runs where mode = 'migrate' and migration <> $1) as "any!""#,
                self.migration,
            )
            .fetch_one(&self.pool)
        })
        .await
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
