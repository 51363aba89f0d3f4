//! Rollbacks: runs that delete the tokens of another run.
//!
//! The intent to delete a token is in `rollbacks` before its request leaves. The statement that records a
//! deletion also removes the token from `tokens` and resets the cursor of an unfinished run: to any later
//! run, the token was never sent.

use super::{Ledger, LedgerError, RollbackRun, Run, write_numbers::Writes};
use crate::{
    domain::{Counters, DryRun, Mode, Rollback, RollbackRequest, RunId},
    ledger::upload::expect_upload,
};

impl Ledger {
    /// Resumes the unfinished rollback of the same run, or starts one. The caller must hold the migration's
    /// lock. `api` is the target at which tokens would be deleted.
    ///
    /// # Errors
    /// If the run uploads nothing, does not exist or has another target; if the role may not delete from the
    /// ledger, which must show before the first token is deleted; or if the database does not answer.
    pub async fn begin_rollback(
        &self,
        rollback_request: RollbackRequest,
        api: &str,
        holder: &str,
    ) -> Result<RollbackRun, LedgerError> {
        self.with_retry(|| expect_upload(&self.pool, &self.migration, rollback_request.of_run))
            .await??;
        self.expect_api(rollback_request.of_run, api).await?;
        if rollback_request.dry_run == DryRun::Off {
            // Tokens of theirs may be deleted.
            self.with_retry(|| {
                sqlx::query!("delete from clean_ranges where migration = $1", self.migration)
                    .execute(&self.pool)
            })
            .await?;
            self.with_retry(|| {
                sqlx::query!(
                    "with places as (delete from former_places where false) delete from token_rows where false"
                )
                .execute(&self.pool)
            })
            .await?;
        }
        self.mark_orphaned_interrupted(&[Mode::Migrate, Mode::Rollback])
            .await?;
        let writes = Writes::draw();
        let rehearsal = rollback_request.dry_run == DryRun::On;
        // A `running` row can only come from this statement, if its response was lost.
        let taken_up = self
            .with_retry(|| {
                sqlx::query!(
                    "update runs set status = 'running', finished_at = null, stop_reason = null, holder = $5, held_since = now(),
                            epoch = epoch + 1, resumed = true, progressed_at = now(), writes = $6
                     where id = (select max(id) from runs where migration = $1 and mode = $2 and rolls_back = $3
                                   and rehearsal = $4)
                       and status in ('running', 'interrupted', 'stopped')
                     returning id, epoch, requests, retries, rate_limited, lookups, active_seconds",
                    self.migration,
                    Mode::Rollback.as_str(),
                    rollback_request.of_run,
                    rehearsal,
                    holder,
                    writes.first,
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        let run = if let Some(row) = taken_up {
            Run {
                epoch: row.epoch,
                resumed: true,
                counters: Counters {
                    requests: row.requests,
                    retries: row.retries,
                    rate_limited: row.rate_limited,
                    lookups: row.lookups,
                    active_seconds: row.active_seconds,
                },
                ..Run::new(row.id, writes)
            }
        } else {
            // Not repeated if the response is lost: the next attempt would resume the run.
            let id = sqlx::query_scalar!(
                "insert into runs (migration, mode, rolls_back, rehearsal, holder, writes) values ($1, $2, $3, $4, $5, $6) returning id",
                self.migration,
                Mode::Rollback.as_str(),
                rollback_request.of_run,
                rehearsal,
                holder,
                writes.first,
            )
            .fetch_one(&self.pool)
            .await?;
            Run::new(id, writes)
        };
        Ok(RollbackRun {
            run,
            rollback_request,
            api: api.to_owned(),
        })
    }

    /// Rejects another target: a token that is not found where it never was would count as gone.
    async fn expect_api(&self, run: RunId, api: &str) -> Result<(), LedgerError> {
        let went_to = self
            .with_retry(|| {
                sqlx::query_scalar!("select api from runs where id = $1", run).fetch_one(&self.pool)
            })
            .await?;
        match went_to {
            Some(went_to) if went_to == api => Ok(()),
            Some(went_to) if !went_to.is_empty() => Err(LedgerError::AnotherApi {
                run,
                went_to,
                configured: api.to_owned(),
            }),
            Some(_) | None => Err(LedgerError::ApiUnknown(run)),
        }
    }

    /// Returns the outcomes so far, including those of earlier processes.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn rolled_back(&self, of: &RollbackRun) -> Result<Rollback, LedgerError> {
        let row = self
            .with_retry(|| {
                sqlx::query!(
                    r#"select count(*) filter (where state in ('removed', 'deletable')) as "removed!",
                              count(*) filter (where state = 'gone') as "gone!",
                              count(*) filter (where state = 'refused') as "refused!"
                       from rollbacks where run_id = $1"#,
                    of.run.id,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        Ok(Rollback {
            of_run: of.rollback_request.of_run,
            dry_run: of.rollback_request.dry_run == DryRun::On,
            removed: row.removed,
            gone: row.gone,
            refused: row.refused,
        })
    }
}
