//! Runs: started, resumed, or left unfinished.

use std::sync::Arc;

use super::{Ledger, LedgerError, MANY_ROWS, Run, columns::column, write_numbers::Writes};
use crate::{
    domain::{Counters, Mode, RunId, Selection, SourceKey, Tally},
    postgres::Pool,
    secret::Fingerprint,
};

impl Ledger {
    /// Resumes the migration's unfinished run, or starts one. `about` is a digest of everything that decides
    /// which rows a run covers and what it makes of them: an unfinished run with another digest is left as it
    /// is. The caller must hold the lock, so that a `running` run belongs to a process that is gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin(
        &self,
        selection: &Selection,
        about: &Fingerprint,
        holder: &str,
    ) -> Result<Run, LedgerError> {
        self.mark_orphaned_interrupted(&[Mode::Migrate, Mode::Rollback])
            .await?;
        let writes = Writes::draw();
        // A `running` row can only come from this statement, if its response was lost.
        let taken_up = self
            .with_retry(|| {
                sqlx::query!(
                    r#"update runs set status = 'running', finished_at = null, stop_reason = null, holder = $4, held_since = now(),
                              epoch = epoch + 1, resumed = true, progressed_at = now(), writes = $6
                       where id = (select id from runs where migration = $1 and mode = $2 and selection = 'all'
                                   order by id desc limit 1)
                         and $3 = 'all' and status in ('running', 'interrupted', 'stopped') and selection_digest = $5
                         -- Rows that it passed before the ledger was restored must be read again.
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
        // Not repeated if the response is lost: the next attempt would resume the run.
        let id = insert(
            &self.pool,
            &self.migration,
            Mode::Migrate,
            selection,
            Some(about),
            holder,
            &writes,
        )
        .await?;
        Ok(Run {
            left,
            ..Run::new(id, writes)
        })
    }

    /// Records why the latest run, if it is unfinished, is not resumed.
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

    /// Marks runs as interrupted that are `running` under a lock which this process holds. Their processes
    /// are gone, or do not know yet that they lost the lock; the new epoch keeps them from recording
    /// anything.
    pub(super) async fn mark_orphaned_interrupted(&self, modes: &[Mode]) -> Result<(), LedgerError> {
        let modes = column(modes, |mode| mode.as_str());
        self.with_retry(|| {
            sqlx::query!(
                "update runs set status = 'interrupted', finished_at = now(), stop_reason = 'its process ended', epoch = epoch + 1
                 where migration = $1 and mode = any($2) and status = 'running'",
                self.migration,
                &modes as &[&str],
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }

    /// Starts a dry run. It takes no lock and may run beside any other run.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin_dry_run(&self, selection: &Selection, holder: &str) -> Result<Run, LedgerError> {
        // A dry run has no lock that shows whether its process is gone, but it writes checkpoints every two
        // seconds. One that was only cut off for an hour continues unharmed and records its status at the
        // end.
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
        .await?;
        Ok(Run::new(id, writes))
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
