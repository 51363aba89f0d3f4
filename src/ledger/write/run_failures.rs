//! Failures of a run, kept so that later runs can be compared with it: a token's row has its last outcome
//! only.

use super::{Ledger, LedgerError, MANY_ROWS, Run};

/// Runs of a migration whose failures are kept.
const RUNS_KEPT: i64 = 50;

impl Ledger {
    /// Keeps what failed in a run, in place of what an earlier process of it kept, and drops what failed in
    /// runs long past.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn keep_failures(&self, run: &Run) -> Result<(), LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "delete from run_failures
                 where run_id = $2
                    or run_id in (select id from runs where migration = $1 and mode = 'migrate' order by id desc offset $3)",
                self.migration,
                run.id,
                RUNS_KEPT,
            )
            .execute(self.pool.within(MANY_ROWS))
        })
        .await?;
        self.with_retry(|| {
            sqlx::query!(
                "insert into run_failures (run_id, source_key, refused_by, error_code, reason, app_id, user_id, tenant_id)
                 select run_id, source_key, refused_by, error_code, reason, app_id, user_id, tenant_id
                 from token_rows where migration = $1 and state = 'failed' and run_id = $2
                 on conflict do nothing",
                self.migration,
                run.id,
            )
            .execute(self.pool.within(MANY_ROWS))
        })
        .await?;
        Ok(())
    }
}
