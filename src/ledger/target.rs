//! The target of a migration: project and base URL.
//!
//! What the ledger calls stored is stored there and nowhere else. So a migration whose tokens went to one place is not gone on
//! with to another: every token would be passed over as unchanged.

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError};

impl Ledger {
    /// Refuses a project or an address that the migration's tokens did not go to. A migration without tokens may go anywhere.
    ///
    /// # Errors
    /// [`LedgerError::OtherTarget`] if they went elsewhere, or if the database stays away.
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
    /// Where the migration's tokens went, if that is not there. Only of a ledger that is up to date.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn other_target(&mut self, target: &str) -> Result<Option<String>, LedgerError> {
        Ok(other_than(&mut self.reader.connection, &self.reader.migration, target).await?)
    }
}

/// Another place than `target` at which the ledger takes tokens of the migration for stored, or for under way. Those of runs that
/// recorded no place, as earlier versions began them, count as sent to that of the first run after them which found them there.
async fn other_than(
    executor: impl PgExecutor<'_>,
    migration: &str,
    target: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with mine as (
               select id, nullif(api, '') as api, status like 'completed%' as is_complete,
                      -- One with a status got an answer that the service need not have given: a wrong address binds nobody.
                      exists (select from batches where run_id = runs.id and state = 'in_flight' and http_status is null)
                          as is_sending,
                      exists (select from batches where run_id = runs.id and state = 'committed') as has_sent
               from runs where migration = $1 and mode = 'migrate'
           )
           select api as "api!" from mine
           where api <> $2
             -- Nothing of it need be left: all may have been sent again since, or taken back.
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
