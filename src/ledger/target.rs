//! The target of a migration: project and base URL.
//!
//! Tokens that the ledger calls stored are stored there and nowhere else. A migration must not be resumed
//! with another target, because every token would be skipped as unchanged.

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError};

impl Ledger {
    /// Rejects a target that the migration's tokens were not sent to. A migration without tokens may use any
    /// target.
    ///
    /// # Errors
    /// [`LedgerError::OtherTarget`] if they went elsewhere, or if the database stays unreachable.
    pub async fn expect_target(&self, target: &str) -> Result<(), LedgerError> {
        match self
            .with_retry(|| other_than(&self.pool, &self.migration, target))
            .await?
        {
            None => Ok(()),
            Some(went_to) => Err(LedgerError::OtherTarget {
                migration: self.migration.clone(),
                went_to,
                configured: target.to_owned(),
            }),
        }
    }
}

impl LedgerDiagnostics {
    /// Returns the target of the migration's tokens if it is another one. The schema must be current.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn other_target(&mut self, target: &str) -> Result<Option<String>, LedgerError> {
        Ok(other_than(&mut self.reader.connection, &self.reader.migration, target).await?)
    }
}

/// Finds another target at which the ledger has committed or in-flight tokens of the migration. Runs of
/// earlier versions recorded no target; their tokens count as sent to the target of the first later run.
async fn other_than(
    executor: impl PgExecutor<'_>,
    migration: &str,
    target: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with mine as (
               select id, nullif(api, '') as api, status like 'completed%' as is_complete,
                      -- A status means that another server may have answered: a wrong address must not bind.
                      exists (select from batches where run_id = runs.id and state = 'in_flight' and http_status is null)
                          as is_sending,
                      exists (select from batches where run_id = runs.id and state = 'committed') as has_sent
               from runs where migration = $1 and mode = 'migrate'
           )
           select api as "api!" from mine
           where api <> $2
             -- All its tokens may have been sent again or deleted since.
             and (is_sending or has_sent and exists (
                      select from tokens where tokens.run_id = mine.id and tokens.state = 'committed'
                  )
                  or id = (select min(first.id) from mine as first
                           where first.api is not null and (first.has_sent or first.is_sending or first.is_complete))
                     and exists (select from mine as before where before.id < mine.id and before.api is null and before.has_sent))
           order by id desc limit 1"#,
        migration,
        target,
    )
    .fetch_optional(executor)
    .await
}
