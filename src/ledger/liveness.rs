//! Liveness: whether a run's process holds its lock, seen from outside.

use sqlx::PgExecutor;

use super::{LedgerDiagnostics, LedgerError, LedgerReader, LockKind, lock_holder::LockHolder};
use crate::postgres::Failure;

impl LedgerReader {
    /// Whether a process holds one of the migration's locks. A run that says `running` without it belongs to a process that is
    /// gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.schema, &self.migration);
        is_held(&mut self.connection, &name).await
    }
}

impl LedgerDiagnostics {
    /// The same.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.access.ledger.schema, &self.access.migration);
        is_held(&mut self.connection, &name).await
    }
}

/// A foreign role's lock is no sign of a run.
async fn is_held(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, LedgerError> {
    let holder = LockHolder::find(executor, name).await.map_err(Failure::from)?;
    Ok(holder.is_some_and(|holder| !holder.is_foreign))
}
