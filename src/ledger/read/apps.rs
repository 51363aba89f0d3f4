//! Totals of a run's tokens by app, for reports.

use super::{LedgerError, LedgerReader};
use crate::domain::RunId;

/// Outcomes of the tokens of one app in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "counts of what their names say")]
pub struct AppOutcomes {
    /// The outbound app, or the legacy name that maps to no app; absent if the row names none.
    pub app: Option<String>,
    pub committed: i64,
    pub failed: i64,
    pub superseded: i64,
    /// Warnings about tokens that are uploaded.
    pub warnings: i64,
}

/// Maximum number of apps that are listed.
const MOST: i64 = 100;

impl LedgerReader {
    /// Returns a run's outcomes by app, those with most tokens first, and the number of apps that are not
    /// listed. A token that a later run changed counts there.
    ///
    /// This reads the whole table, about half a second per million rows: an index on the run would slow down
    /// every write.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn outcomes_by_app(&mut self, run: RunId) -> Result<(Vec<AppOutcomes>, i64), LedgerError> {
        let rows = sqlx::query!(
            r#"select app_id, sum(committed)::bigint as "committed!", sum(failed)::bigint as "failed!",
                      sum(superseded)::bigint as "superseded!", sum(warnings)::bigint as "warnings!",
                      count(*) over () as "apps!"
               from (
                   select app_id, count(*) filter (where state = 'committed') as committed,
                          count(*) filter (where state = 'failed') as failed,
                          count(*) filter (where state = 'superseded') as superseded, 0 as warnings
                   from tokens where migration = $1 and run_id = $2
                   group by app_id
                   union all
                   -- Errors of a dry run and differences found by a verification.
                   select app_id, 0, count(*) filter (where severity = 'error'),
                          count(*) filter (where severity = 'superseded'),
                          count(*) filter (where severity = 'warning')
                   from findings where run_id = $2
                   group by app_id
               ) as outcomes
               group by app_id
               order by sum(committed + failed + superseded + warnings) desc, app_id
               limit $3"#,
            self.migration,
            run,
            MOST,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let more = rows.first().map_or(0, |row| row.apps - MOST).max(0);
        let apps = rows.into_iter().map(|row| AppOutcomes {
            app: row.app_id,
            committed: row.committed,
            failed: row.failed,
            superseded: row.superseded,
            warnings: row.warnings,
        });
        Ok((apps.collect(), more))
    }
}
