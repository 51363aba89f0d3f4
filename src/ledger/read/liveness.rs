//! Liveness of a run: a live process holds the migration's lock.

use super::{LedgerDiagnostics, LedgerError, LedgerReader};
use crate::ledger::{LockKind, lock_holder::LockHolder};

impl LedgerReader {
    /// Returns whether a process holds one of the migration's locks. A run that is `running` without it
    /// belongs to a process that is gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        let name = what.name(&self.schema, &self.migration);
        let holder = LockHolder::find(&mut self.connection, &name).await?;
        // A foreign role's lock does not belong to a run.
        Ok(holder.is_some_and(|holder| !holder.is_foreign))
    }
}

impl LedgerDiagnostics {
    /// Returns the same as [`LedgerReader::is_held`].
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_held(&mut self, what: LockKind) -> Result<bool, LedgerError> {
        self.reader.is_held(what).await
    }
}
