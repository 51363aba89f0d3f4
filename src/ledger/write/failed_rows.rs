//! Rows that failed in earlier runs, page by page.

use super::{Ledger, LedgerError};
use crate::domain::{RunId, SourceKey};

/// A row whose last outcome is a failure.
#[derive(Debug, Clone)]
pub struct FailedRow {
    /// The run in which it failed.
    run: RunId,
    /// The row.
    pub key: SourceKey,
}

impl Ledger {
    /// Returns the next rows that failed in a run before `run`, with this code if it is given. Rows whose
    /// last attempt is longest ago come first, so that a run that ends early leaves the others to the next
    /// one and no row comes twice.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn failed_rows(
        &self,
        run: RunId,
        code: Option<&str>,
        after: Option<&FailedRow>,
        limit: i64,
    ) -> Result<Vec<FailedRow>, LedgerError> {
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    "select run_id, source_key from token_rows
                     where migration = $1 and state = 'failed' and run_id < $2 and (run_id, source_key) > ($3, $4)
                       and ($5::text is null or error_code = $5)
                     order by run_id, source_key limit $6",
                    self.migration,
                    run,
                    after.map_or(0, |row| row.run),
                    after.map_or("", |row| row.key.as_str()),
                    code,
                    limit,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let rows = rows.into_iter().map(|row| FailedRow {
            run: row.run_id,
            key: SourceKey::from(row.source_key),
        });
        Ok(rows.collect())
    }
}
