//! Liveness: whether a run's process holds its lock, seen from outside.

use super::{LedgerDiagnostics, LedgerReader};
use crate::ledger::{LedgerError, LockKind, lock_holder::LockHolder};

impl LedgerReader {
    /// Whether a process holds one of the migration's locks. A run that says `running` without it belongs to a process that is
    /// gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.schema, &self.migration);
        let holder = LockHolder::find(&mut self.connection, &name).await?;
        // A foreign role's lock is no sign of a run.
        Ok(holder.is_some_and(|holder| !holder.is_foreign))
    }
}

impl LedgerDiagnostics {
    /// The same.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        self.reader.is_held(what).await
    }
}
