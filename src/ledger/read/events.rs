//! Events of a run, for reports.

use chrono::{DateTime, Utc};

use super::{LedgerError, LedgerReader};
use crate::domain::{EventKind, RunId};

/// An event of a run.
#[derive(Debug, Clone)]
pub struct RunEvent {
    /// The kind; `None` if a later version of this program wrote it.
    pub kind: Option<EventKind>,
    /// Start of the event.
    pub at: DateTime<Utc>,
    /// End of the event, if it lasted.
    pub until: Option<DateTime<Utc>>,
    /// Duration in seconds; the total if several events were merged.
    pub seconds: f64,
    /// The number of events that were merged into this one.
    pub times: i32,
    /// A sentence about it.
    pub detail: Option<String>,
}

/// Maximum number of events that a report reads. A process writes a few hundred at most.
const MOST: i64 = 2000;

impl LedgerReader {
    /// Returns the events of a run in the order of time.
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
