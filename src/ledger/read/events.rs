//! Events of a run, for reports.

use chrono::{DateTime, Utc};

use super::LedgerReader;
use crate::{
    domain::{EventKind, RunId},
    ledger::LedgerError,
};

/// An event of a run.
#[derive(Debug, Clone)]
pub struct RunEvent {
    /// What it is; `None` if a later version of this program wrote it.
    pub kind: Option<EventKind>,
    /// When it began.
    pub at: DateTime<Utc>,
    /// When it was over, where it lasted.
    pub until: Option<DateTime<Utc>>,
    /// How long it lasted; of several that became one, all of them together.
    pub seconds: f64,
    /// How many became one.
    pub times: i32,
    /// A sentence about it.
    pub detail: Option<String>,
}

/// A report reads so many of a run. A process writes a few hundred at most.
const MOST: i64 = 2000;

impl LedgerReader {
    /// What happened to a run, in the order of time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn events(&mut self, run: RunId) -> Result<Vec<RunEvent>, LedgerError> {
        let rows = sqlx::query!(
            "select kind, at, until, seconds, times, detail from run_events where run_id = $1
             order by at, epoch, number limit $2",
            run,
            MOST,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let events = rows.into_iter().map(|row| RunEvent {
            kind: EventKind::parse(&row.kind),
            at: row.at,
            until: row.until,
            seconds: row.seconds,
            times: row.times,
            detail: row.detail,
        });
        Ok(events.collect())
    }
}
