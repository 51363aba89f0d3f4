//! Checkpoints: updates of a run's row as it progresses and when it ends.

use super::{Checkpoint, Ledger, LedgerError, MANY_ROWS, Run};
use crate::domain::{Estimate, RunStatus, SourceKey};

impl Ledger {
    /// Records the target of an uploading run. A run of an earlier version, which recorded none, may have
    /// sent tokens to another target before; its target is recorded as unknown (empty).
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over. Nothing may be sent
    /// then.
    pub async fn record_target(&self, run: &Run, target: &str) -> Result<(), LedgerError> {
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update runs set api = case
                        when api = $3 then api
                        when not exists (select from batches where run_id = $1 and (
                                 state = 'committed' or state = 'in_flight' and http_status is null)) then $3
                        else ''
                 end
                 where id = $1 and epoch = $2",
                    run.id,
                    run.epoch,
                    target,
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    /// Records the number of rows, exact or estimated, if it is known.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
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

    /// Records a dry run's estimate and deletes the rows that it remembered.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn estimate(&self, run: &Run, estimate: &Estimate) -> Result<(), LedgerError> {
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "with cleared as (delete from dry_run_rows where run_id = $1)
                     update runs set estimated_batches = $3, estimated_requests = $4, estimated_single_requests = $5,
                            estimated_bytes = $6, estimated_seconds = $7, estimated_fetches = $8, estimated_at_most = $9
                     where id = $1 and epoch = $2",
                    run.id,
                    run.epoch,
                    estimate.batches,
                    estimate.requests,
                    estimate.single_requests,
                    estimate.bytes,
                    estimate.duration_s,
                    estimate.fetches,
                    estimate.at_most,
                )
                .execute(self.pool.within(MANY_ROWS))
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    /// Advances the cursor, the tally up to it, and the tally of the whole run. The numbers are totals, so
    /// that a repetition changes nothing.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn advance(&self, run: &Run, checkpoint: &Checkpoint<'_>) -> Result<(), LedgerError> {
        self.write(run, checkpoint, None, None).await
    }

    /// Ends the run with its current tally.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn finish(
        &self,
        run: &Run,
        checkpoint: &Checkpoint<'_>,
        status: RunStatus,
        why: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.write(run, checkpoint, Some(status), why).await
    }

    /// Writes a checkpoint. An earlier write that timed out may be executed after the end of the run was
    /// recorded, so only an end may replace an end.
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
                            stop_reason = coalesce($19::text, stop_reason), writes = $20,
                            -- The rows themselves are worked on by later runs.
                            failures_by_code = case when $18::text is not null then (
                                select coalesce(jsonb_object_agg(error_code, number), '{}')
                                from (select error_code, count(*) as number
                                      from (select error_code from token_rows
                                            where migration = $23 and run_id = $1 and state = 'failed'
                                            union all
                                            select error_code from findings where run_id = $1 and severity = 'error') as failed
                                      where error_code is not null group by error_code) as counted) end
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
                    self.migration,
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
