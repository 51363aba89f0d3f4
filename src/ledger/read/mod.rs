//! Reads for reports and diagnostics. Nothing here changes the ledger.

mod apps;
mod diagnostics;
mod events;
mod failure_changes;
mod failures;
mod history;
mod known_user;
mod liveness;
mod migration_state;
mod outcomes;
mod previous_run;
mod rollbacks;
mod run_list;
mod run_report;
mod timeline;

pub use apps::AppOutcomes;
pub use diagnostics::{Durability, LedgerDiagnostics, Missing};
pub use events::RunEvent;
pub use failure_changes::{FailureChange, RunPair};
pub use failures::{FailedToken, FailureGroup, Listed, Listing};
pub use history::{BatchRecord, FindingRecord, History, LastOutcome, RollbackRecord};
pub use migration_state::{ActiveRun, MigrationState};
pub use outcomes::RowOutcome;
pub use previous_run::{FailuresByCode, PreviousRun};
pub use run_list::ListedRun;
pub use run_report::RunReport;
pub use timeline::{BOUNDS as LATENCY_BOUNDS, Latency, Step, Timeline};

use super::{LedgerError, schema, session::connect_to_read};
use crate::{config::LedgerAccess, postgres::Session};

/// A connection to the ledger that reads only and creates nothing.
#[derive(Debug)]
pub struct LedgerReader {
    pub(super) connection: Session,
    pub(super) migration: String,
    pub(super) schema: String,
}

impl LedgerReader {
    /// Opens the ledger for reading.
    ///
    /// # Errors
    /// If the database does not answer, or holds no ledger.
    pub async fn open(access: &LedgerAccess) -> Result<Self, LedgerError> {
        let mut reader = Self::connect(access).await?;
        schema::expect_present(&mut reader.connection, &reader.schema).await?;
        Ok(reader)
    }

    /// Connects without checking that there is a ledger.
    async fn connect(access: &LedgerAccess) -> Result<Self, LedgerError> {
        Ok(Self {
            connection: connect_to_read(access).await?,
            migration: access.migration.clone(),
            schema: access.ledger.schema.clone(),
        })
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
