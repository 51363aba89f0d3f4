//! Runs: begun or taken up again, moved along with the cursor, finished.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Ledger, LedgerError, MANY_ROWS, continuity::Writes};
use crate::{
    domain::{Counters, Estimate, Mode, RunId, RunStatus, Selection, SourceKey, Tally},
    postgres::{Failure, Pool},
    secret::Fingerprint,
};

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
    /// An unfinished run that was not taken up, as it is about other rows.
    pub left: Option<RunId>,
    /// The numbers of the times that this process writes its books.
    pub(super) writes: Arc<Writes>,
}

/// How a run stands. As selected counts what has an end: of a run that ends early, the rest is none of its books.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// The greatest key that everything is settled up to; `None` leaves it where it was.
    pub cursor: Option<&'a SourceKey>,
    /// The books up to the cursor.
    pub up_to_cursor: Tally,
    /// The books of the whole run.
    pub tally: Tally,
    /// What was counted, earlier processes included.
    pub counters: Counters,
}

impl Run {
    /// A run that nobody has worked on.
    pub(super) fn new(id: RunId, writes: Writes) -> Self {
        Self {
            id,
            epoch: 1,
            resumed: false,
            cursor: None,
            tally: Tally::default(),
            counters: Counters::default(),
            left: None,
            writes: Arc::new(writes),
        }
    }
}

impl Ledger {
    /// Takes up the migration's unfinished run, or begins one. `about` is a digest of all that decides which rows a run is about,
    /// and what is made of them: an unfinished run about others stays as it stands. Only with the lock held: a run that says
    /// `running` then belongs to a process that is gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin(
        &self,
        selection: &Selection,
        about: &Fingerprint,
        holder: &str,
    ) -> Result<Run, LedgerError> {
        self.mark_orphaned_interrupted().await?;
        let writes = Writes::draw();
        // `running` can only be our own answer that was lost.
        let taken_up = self
            .with_retry(|| {
                sqlx::query!(
                    r#"update runs set status = 'running', finished_at = null, stop_reason = null, holder = $4,
                              epoch = epoch + 1, resumed = true, progressed_at = now(), writes = $6
                       where id = (select id from runs where migration = $1 and mode = $2 and selection = 'all'
                                   order by id desc limit 1)
                         and $3 = 'all' and status in ('running', 'interrupted', 'stopped') and selection_digest = $5
                         -- What it passed before the ledger was restored has to be looked at again.
                         and not exists (select from forgotten_tokens where forgotten_tokens.migration = $1
                                           and extent = 'anything' and since > runs.started_at)
                       returning id, epoch, cursor, cursor_committed, cursor_failed, cursor_superseded,
                                 cursor_unchanged, requests, retries, rate_limited, lookups, active_seconds"#,
                    self.migration,
                    Mode::Migrate.as_str(),
                    selection.as_str(),
                    holder,
                    &about.as_bytes()[..],
                    writes.first,
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
                    selected: run.cursor_committed
                        + run.cursor_failed
                        + run.cursor_superseded
                        + run.cursor_unchanged,
                    committed: run.cursor_committed,
                    failed: run.cursor_failed,
                    superseded: run.cursor_superseded,
                    unchanged: run.cursor_unchanged,
                },
                counters: Counters {
                    requests: run.requests,
                    retries: run.retries,
                    rate_limited: run.rate_limited,
                    lookups: run.lookups,
                    active_seconds: run.active_seconds,
                },
                left: None,
                writes: Arc::new(writes),
            });
        }
        let left = match selection {
            Selection::All => self.leave_unfinished().await?,
            Selection::Failed { .. } => None,
        };
        // Not repeated when the answer is lost: the run would then be taken up by the next attempt above.
        let id = insert(
            &self.pool,
            &self.migration,
            Mode::Migrate,
            selection,
            Some(about),
            holder,
            &writes,
        )
        .await
        .map_err(Failure::from)?;
        Ok(Run {
            left,
            ..Run::new(id, writes)
        })
    }

    /// Says of the latest run, if it is unfinished, why nobody goes on with it.
    async fn leave_unfinished(&self) -> Result<Option<RunId>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                "update runs set stop_reason = case when stop_reason like $3 || '%' then stop_reason
                                                    else $3 || coalesce(' (before that: ' || stop_reason || ')', '') end
                 where id = (select id from runs where migration = $1 and mode = $2 and selection = 'all'
                             order by id desc limit 1)
                   and status in ('interrupted', 'stopped')
                 returning id",
                self.migration,
                Mode::Migrate.as_str(),
                "left unfinished: the configuration selects other rows since, or makes something else of them, or the ledger was restored, and a new run began",
            )
            .fetch_optional(&self.pool)
        })
        .await
    }

    /// Whatever says that it is running under the migration's lock belongs to a process that is gone, or does not know yet
    /// that it lost the lock: it can record nothing any more.
    pub(super) async fn mark_orphaned_interrupted(&self) -> Result<(), LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "update runs set status = 'interrupted', finished_at = now(), stop_reason = 'its process ended', epoch = epoch + 1
                 where migration = $1 and mode in ('migrate', 'rollback') and status = 'running'",
                self.migration,
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }

    /// When a run of this kind last came to the end of its rows.
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

    /// The most rows that a run had read that came to the end of all of them: the last one, or one over the same rows within the last
    /// 30 days, or the last before these. A source that shrank so is not taken for whole by the next run already.
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

    /// Begins a dry run: a new one each time, without the lock, beside whatever else runs.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin_dry_run(&self, selection: &Selection, holder: &str) -> Result<Run, LedgerError> {
        self.file_left_behind().await?;
        // No lock tells whose process is gone, so silence does: books are written every two seconds. One that is merely
        // cut off for so long goes on unharmed and gives itself its status at the end.
        self.with_retry(|| {
            sqlx::query!(
                "with gone as (
                     update runs set status = 'interrupted', finished_at = now(), stop_reason = 'its process ended'
                     where migration = $1 and mode = $2 and status = 'running' and progressed_at < now() - interval '1 hour'
                     returning id
                 )
                 delete from dry_run_rows where run_id in (select id from gone)",
                self.migration,
                Mode::DryRun.as_str(),
            )
            .execute(self.pool.within(MANY_ROWS))
        })
        .await?;
        let writes = Writes::draw();
        let id = insert(
            &self.pool,
            &self.migration,
            Mode::DryRun,
            selection,
            None,
            holder,
            &writes,
        )
        .await
        .map_err(Failure::from)?;
        Ok(Run::new(id, writes))
    }

    /// Records how many rows there are, about, where that is known.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn expect_rows(&self, run: &Run, rows: Option<u64>) -> Result<(), LedgerError> {
        let rows = rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update runs set expected_rows = $3 where id = $1 and epoch = $2",
                    run.id,
                    run.epoch,
                    rows,
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    /// Records what a dry run expects of the real one, and clears away what it had to remember.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn estimate(&self, run: &Run, estimate: &Estimate) -> Result<(), LedgerError> {
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "with cleared as (delete from dry_run_rows where run_id = $1)
                     update runs set estimated_batches = $3, estimated_requests = $4, estimated_single_requests = $5,
                            estimated_bytes = $6, estimated_seconds = $7, estimated_fetches = $8
                     where id = $1 and epoch = $2",
                    run.id,
                    run.epoch,
                    estimate.batches,
                    estimate.requests,
                    estimate.single_requests,
                    estimate.bytes,
                    estimate.duration_s,
                    estimate.fetches,
                )
                .execute(self.pool.within(MANY_ROWS))
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    /// Moves the cursor, the books up to it, and those of the whole run. The numbers are totals, so that a repetition
    /// changes nothing.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn advance(&self, run: &Run, checkpoint: &Checkpoint<'_>) -> Result<(), LedgerError> {
        self.write(run, checkpoint, None, None).await
    }

    /// Ends the run, with its books as they are now.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn finish(
        &self,
        run: &Run,
        checkpoint: &Checkpoint<'_>,
        status: RunStatus,
        why: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.write(run, checkpoint, Some(status), why).await
    }

    /// An earlier entry that was given up while it was under way may be carried out after the end of the run was recorded:
    /// only an end may be written over an end.
    async fn write(
        &self,
        run: &Run,
        checkpoint: &Checkpoint<'_>,
        end: Option<RunStatus>,
        why: Option<&str>,
    ) -> Result<(), LedgerError> {
        let Checkpoint {
            cursor,
            up_to_cursor,
            tally,
            counters,
        } = *checkpoint;
        let write = run.writes.begin();
        let outcomes = self.outcomes.to_find();
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update runs set cursor = coalesce($3, cursor), cursor_committed = $4, cursor_failed = $5,
                            cursor_superseded = $6, cursor_unchanged = $7, tokens_selected = $8, tokens_committed = $9,
                            tokens_failed = $10, tokens_superseded = $11, tokens_unchanged = $12, requests = $13,
                            retries = $14, rate_limited = $15, active_seconds = $16, lookups = $17, progressed_at = now(),
                            status = coalesce($18::text, status), finished_at = case when $18::text is null then finished_at else now() end,
                            stop_reason = coalesce($19::text, stop_reason), writes = $20
                     where id = $1 and epoch = $2 and (status = 'running' or $18::text is not null)
                       and writes between $21 and $20
                       and (select count(*) from batches where nonce = any($22) and state <> 'in_flight') = cardinality($22::uuid[])",
                    run.id,
                    run.epoch,
                    cursor.map(SourceKey::as_str),
                    up_to_cursor.committed,
                    up_to_cursor.failed,
                    up_to_cursor.superseded,
                    up_to_cursor.unchanged,
                    tally.settled(),
                    tally.committed,
                    tally.failed,
                    tally.superseded,
                    tally.unchanged,
                    counters.requests,
                    counters.retries,
                    counters.rate_limited,
                    counters.active_seconds,
                    counters.lookups,
                    end.map(RunStatus::as_str),
                    why,
                    write.number,
                    write.after,
                    &outcomes,
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await?;
        run.writes.confirm(&write);
        self.outcomes.found(&outcomes);
        Ok(())
    }
}

async fn insert(
    pool: &Pool,
    migration: &str,
    mode: Mode,
    selection: &Selection,
    about: Option<&Fingerprint>,
    holder: &str,
    writes: &Writes,
) -> Result<RunId, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into runs (migration, mode, selection, holder, selection_digest, writes) values ($1, $2, $3, $4, $5, $6) returning id",
        migration,
        mode.as_str(),
        selection.as_str(),
        holder,
        about.map(|digest| &digest.as_bytes()[..]),
        writes.first,
    )
    .fetch_one(pool)
    .await
}
