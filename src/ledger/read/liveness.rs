//! Liveness of a run: a live process holds the migration's lock.

use super::{LedgerDiagnostics, LedgerError, LedgerReader};
use crate::{
    domain::{Mode, RunId, RunStatus},
    ledger::{LockKind, lock_holder::LockHolder},
};

/// The stop reason shown for a run whose process ended without recording one. The next run writes one into
/// the ledger.
pub(super) const GONE: &str = "its process is gone";

/// A run as its row shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sign<'a> {
    pub(super) run: RunId,
    pub(super) mode: Mode,
    pub(super) status: &'a str,
    /// It has not recorded progress for some time.
    pub(super) is_silent: bool,
}

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

    /// Returns true if the run says that it is running, but its process is gone. A process holds the lock
    /// while its run says so. A dry run takes no lock: only its progress shows that it is alive.
    pub(super) async fn is_gone(&mut self, sign: Sign<'_>) -> Result<bool, LedgerError> {
        let running = RunStatus::Running.as_str();
        if sign.status != running {
            return Ok(false);
        }
        let lock = match sign.mode {
            Mode::Migrate | Mode::Rollback => LockKind::Migration,
            Mode::Verify => LockKind::Verification,
            Mode::DryRun => return Ok(sign.is_silent),
        };
        if self.is_held(lock).await? {
            return Ok(false);
        }
        // It may have ended between the two looks.
        let status = sqlx::query_scalar!("select status from runs where id = $1", sign.run)
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(status.as_deref() == Some(running))
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
