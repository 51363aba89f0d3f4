//! Whether somebody is at work, seen from outside and without getting in anybody's way.

use sqlx::PgExecutor;

use super::{LedgerDiagnostics, LedgerError, LedgerReader, LockKind};
use crate::postgres::Failure;

impl LedgerReader {
    /// Whether a process holds one of the migration's locks. A run that says `running` without it belongs to a process that is
    /// gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.schema, &self.migration);
        Ok(is_held(&mut self.connection, &name)
            .await
            .map_err(Failure::from)?)
    }
}

impl LedgerDiagnostics {
    /// The same.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.access.ledger.schema, &self.access.migration);
        Ok(is_held(&mut self.connection, &name)
            .await
            .map_err(Failure::from)?)
    }
}

/// Looked up among the server's locks: taking it, be it for a moment, would turn a run away that begins then.
async fn is_held(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
               select from pg_locks
               where locktype = 'advisory' and granted and objsubid = 1
                 and database = (select oid from pg_database where datname = current_database())
                 and (classid::bigint << 32) | objid::bigint = hashtextextended($1, 0)
           ) as "held!""#,
        name,
    )
    .fetch_one(executor)
    .await
}
