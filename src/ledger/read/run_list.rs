//! The list of a migration's runs.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    LedgerError, LedgerReader,
    liveness::{GONE, Sign},
};
use crate::domain::{Mode, RunId, RunStatus, Tally};

/// A run in a list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedRun {
    /// The run.
    pub run_id: RunId,
    /// The mode of the run.
    pub mode: Mode,
    /// `all`, or `failed`: only tokens that failed before.
    pub selection: String,
    /// The status; `interrupted` if its process is gone.
    pub status: String,
    /// The reason for an early end.
    pub stop_reason: Option<String>,
    /// True if more than one process worked on it.
    pub resumed: bool,
    /// The last process that worked on it, and its host.
    pub holder: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// Seconds of work of all processes.
    pub duration_s: f64,
    /// The counts.
    pub tokens: Tally,
    /// The number of failed tokens whose failure is acknowledged. A token counts for the last run in which it
    /// failed.
    pub acknowledged: i64,
    /// Requests that uploaded tokens, read them back or deleted them.
    pub requests: i64,
}

impl LedgerReader {
    /// Returns the latest runs, newest first, and the number of earlier ones.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn runs(&mut self, most: i64) -> Result<(Vec<ListedRun>, i64), LedgerError> {
        let rows = sqlx::query!(
            r#"select id, mode, selection, status, stop_reason, resumed, holder, started_at, finished_at, active_seconds,
                      tokens_selected, tokens_committed, tokens_failed, tokens_superseded, tokens_unchanged, requests,
                      progressed_at < now() - interval '10 seconds' as "is_silent!", count(*) over () as "runs!",
                      (select count(*) from acknowledged
                       where acknowledged.migration = $1 and acknowledged.run_id = runs.id) as "acknowledged!"
               from runs where migration = $1 order by id desc limit $2"#,
            self.migration,
            most,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let earlier = rows.first().map_or(0, |row| (row.runs - most).max(0));
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let mode = Mode::parse(&row.mode).ok_or_else(|| {
                LedgerError::Contradiction(format!("run {} has the unknown mode {}", row.id, row.mode))
            })?;
            let sign = Sign {
                run: row.id,
                mode,
                status: &row.status,
                is_silent: row.is_silent,
            };
            let (status, stop_reason) = if self.is_gone(sign).await? {
                let interrupted = RunStatus::Interrupted.as_str().to_owned();
                (interrupted, Some(GONE.to_owned()))
            } else {
                (row.status, row.stop_reason)
            };
            runs.push(ListedRun {
                run_id: row.id,
                mode,
                selection: row.selection,
                status,
                stop_reason,
                resumed: row.resumed,
                holder: row.holder,
                started_at: row.started_at,
                finished_at: row.finished_at,
                duration_s: row.active_seconds,
                tokens: Tally {
                    selected: row.tokens_selected,
                    committed: row.tokens_committed,
                    failed: row.tokens_failed,
                    superseded: row.tokens_superseded,
                    unchanged: row.tokens_unchanged,
                },
                acknowledged: row.acknowledged,
                requests: row.requests,
            });
        }
        Ok((runs, earlier))
    }
}
