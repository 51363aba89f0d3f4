//! Runs: begun or taken up again, moved along with the cursor, finished.

use sqlx::{PgPool, postgres::PgQueryResult};

use super::{Ledger, LedgerError};
use crate::model::{Mode, RunId, RunStatus, SourceKey, Tally};

/// A run that this process works on.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id in the ledger.
    pub id: RunId,
    /// Which of the processes that worked on it this is, from 1.
    pub epoch: i32,
    /// Whether an earlier process began it.
    pub resumed: bool,
    /// Every row up to here is in `tally`.
    pub cursor: Option<SourceKey>,
    /// The books up to the cursor.
    pub tally: Tally,
    /// What earlier processes counted.
    pub counters: Counters,
}

/// What a run counts beside tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Requests to the API, of any kind.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Answers 429.
    pub rate_limited: i64,
    /// Seconds that processes worked on it.
    pub active_seconds: f64,
}

impl Ledger {
    /// Takes up the migration's unfinished run, or begins one. Only with the lock held: a run that says `running` then
    /// belongs to a process that is gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin(&self, mode: Mode, holder: &str) -> Result<Run, LedgerError> {
        let taken_up = self
            .persist(|| {
                sqlx::query!(
                    r#"update runs set status = 'running', finished_at = null, stop_reason = null, holder = $3,
                              epoch = epoch + 1, progressed_at = now()
                       where id = (select id from runs where migration = $1 and mode = $2 order by id desc limit 1)
                         and status in ('running', 'interrupted', 'stopped')
                       returning id, epoch, cursor, tokens_selected, tokens_committed, tokens_failed, tokens_superseded,
                                 tokens_unchanged, requests, retries, rate_limited, active_seconds"#,
                    self.migration,
                    mode.as_str(),
                    holder,
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        if let Some(run) = taken_up {
            return Ok(Run {
                id: run.id,
                epoch: run.epoch,
                resumed: true,
                cursor: run.cursor.map(SourceKey::from),
                tally: Tally {
                    selected: run.tokens_selected,
                    committed: run.tokens_committed,
                    failed: run.tokens_failed,
                    superseded: run.tokens_superseded,
                    unchanged: run.tokens_unchanged,
                },
                counters: Counters {
                    requests: run.requests,
                    retries: run.retries,
                    rate_limited: run.rate_limited,
                    active_seconds: run.active_seconds,
                },
            });
        }
        // Not repeated when the answer is lost: the run would then be taken up by the next attempt above.
        let id = insert(&self.pool, &self.migration, mode, holder)
            .await
            .map_err(crate::postgres::Failure::from)?;
        Ok(Run {
            id,
            epoch: 1,
            resumed: false,
            cursor: None,
            tally: Tally::default(),
            counters: Counters::default(),
        })
    }

    /// Moves the cursor and the books with it. The numbers are totals, so that a repetition changes nothing.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn advance(
        &self,
        run: &Run,
        cursor: Option<&SourceKey>,
        tally: &Tally,
        counters: &Counters,
    ) -> Result<(), LedgerError> {
        self.persist(|| {
            sqlx::query!(
                "update runs set cursor = coalesce($2, cursor), tokens_selected = $3, tokens_committed = $4,
                        tokens_failed = $5, tokens_superseded = $6, tokens_unchanged = $7, requests = $8, retries = $9,
                        rate_limited = $10, active_seconds = $11, progressed_at = now()
                 where id = $1 and epoch = $12",
                run.id,
                cursor.map(SourceKey::as_str),
                tally.selected,
                tally.committed,
                tally.failed,
                tally.superseded,
                tally.unchanged,
                counters.requests,
                counters.retries,
                counters.rate_limited,
                counters.active_seconds,
                run.epoch,
            )
            .execute(&self.pool)
        })
        .await
        .and_then(|done| ours(&done))
    }

    /// Ends the run.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn finish(&self, run: &Run, status: RunStatus, why: Option<&str>) -> Result<(), LedgerError> {
        self.persist(|| {
            sqlx::query!(
                "update runs set status = $2, finished_at = now(), stop_reason = $3 where id = $1 and epoch = $4",
                run.id,
                status.as_str(),
                why,
                run.epoch,
            )
            .execute(&self.pool)
        })
        .await
        .and_then(|done| ours(&done))
    }
}

/// A statement about a run that found none was too late: another process has taken the run over.
fn ours(done: &PgQueryResult) -> Result<(), LedgerError> {
    if done.rows_affected() == 0 {
        Err(LedgerError::TakenOver)
    } else {
        Ok(())
    }
}

async fn insert(pool: &PgPool, migration: &str, mode: Mode, holder: &str) -> Result<RunId, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into runs (migration, mode, holder) values ($1, $2, $3) returning id",
        migration,
        mode.as_str(),
        holder,
    )
    .fetch_one(pool)
    .await
}
