//! The run before another one, for reports that compare the two.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{LedgerError, LedgerReader};
use crate::domain::{RunId, Tally};

/// An earlier run, as it was when it ended.
#[derive(Debug, Clone)]
pub struct PreviousRun {
    /// Its ID.
    pub id: RunId,
    /// Its status.
    pub status: String,
    /// The time at which it started.
    pub started_at: DateTime<Utc>,
    /// Its counts.
    pub tokens: Tally,
    /// Its failures, and those of the run it is compared with. Absent unless both runs recorded theirs.
    pub failures: Option<(FailuresByCode, FailuresByCode)>,
}

/// The number of failed tokens of each code.
pub type FailuresByCode = BTreeMap<String, i64>;

impl LedgerReader {
    /// Returns the run before `run` that did the same with all rows; `None` if there is none, or if `run` is
    /// not over all rows.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn previous_run(&mut self, run: RunId) -> Result<Option<PreviousRun>, LedgerError> {
        let found = sqlx::query!(
            "select before.id, before.status, before.started_at, before.tokens_selected, before.tokens_committed,
                    before.tokens_failed, before.tokens_superseded, before.tokens_unchanged,
                    before.failures_by_code as then, this.failures_by_code as now
             from runs this join runs before on before.migration = this.migration and before.mode = this.mode
             where this.migration = $1 and this.id = $2 and this.mode in ('migrate', 'dry_run')
               and this.selection = 'all' and before.selection = 'all'
               and before.id < this.id and before.status <> 'running'
             order by before.id desc limit 1",
            self.migration,
            run,
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(found.map(|found| PreviousRun {
            id: found.id,
            status: found.status,
            started_at: found.started_at,
            tokens: Tally {
                selected: found.tokens_selected,
                committed: found.tokens_committed,
                failed: found.tokens_failed,
                superseded: found.tokens_superseded,
                unchanged: found.tokens_unchanged,
            },
            failures: counts(found.then).zip(counts(found.now)),
        }))
    }
}

fn counts(recorded: Option<Value>) -> Option<FailuresByCode> {
    let Value::Object(recorded) = recorded? else {
        return None;
    };
    let counts = recorded
        .into_iter()
        .filter_map(|(code, number)| Some((code, number.as_i64()?)));
    Some(counts.collect())
}
