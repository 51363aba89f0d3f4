//! Past runs, with which later ones are compared.

use chrono::{DateTime, Utc};

use super::{Ledger, LedgerError, Run};
use crate::domain::Mode;

impl Ledger {
    /// Returns the time at which a run of this kind last completed.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn last_success(&self, mode: Mode) -> Result<Option<DateTime<Utc>>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                "select max(finished_at) from runs
                 where migration = $1 and mode = $2 and status in ('completed', 'completed_with_failures')",
                self.migration,
                mode.as_str(),
            )
            .fetch_one(&self.pool)
        })
        .await
    }

    /// Returns the largest number of rows that a complete run read: among the last one, those over the same
    /// rows within the last 30 days, and the last one before these. A source that shrank is thus not accepted
    /// as whole by the very next run.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rows_read_before(&self, run: &Run) -> Result<Option<i64>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                "with complete as (
                     select id, tokens_selected, finished_at,
                            selection_digest = (select selection_digest from runs where id = $2) as same_rows
                     from runs
                     where migration = $1 and id < $2 and mode = 'migrate' and selection = 'all'
                       and status in ('completed', 'completed_with_failures')
                 )
                 select max(tokens_selected) from complete
                 where id = (select max(id) from complete)
                    or same_rows and id >= coalesce((select max(id) from complete
                                                     where same_rows and finished_at < now() - interval '30 days'), 0)",
                self.migration,
                run.id,
            )
            .fetch_one(&self.pool)
        })
        .await
    }
}
