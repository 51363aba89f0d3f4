//! The check that a run uploads: no other run has tokens of its own.

use sqlx::PgExecutor;

use super::LedgerError;
use crate::domain::{Mode, RunId};

/// Returns the database's error outside, so that the caller can retry, and the result of the check inside.
pub(super) async fn expect_upload(
    executor: impl PgExecutor<'_>,
    migration: &str,
    run: RunId,
) -> Result<Result<(), LedgerError>, sqlx::Error> {
    let mode = sqlx::query_scalar!(
        "select mode from runs where migration = $1 and id = $2",
        migration,
        run
    )
    .fetch_optional(executor)
    .await?;
    Ok(match mode {
        None => Err(LedgerError::NoSuchRun(run)),
        Some(mode) if mode == Mode::Migrate.as_str() => Ok(()),
        Some(mode) => Err(LedgerError::UploadsNothing { run, mode }),
    })
}
