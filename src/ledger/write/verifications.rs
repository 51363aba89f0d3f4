//! Verifications: runs that read tokens back, with their samples and findings.

use std::sync::Arc;

use super::{Ledger, LedgerError, MANY_ROWS, Run, write_numbers::Writes};
use crate::{
    domain::{Counters, Mode, SourceKey, Tally, Verification, VerifyRequest},
    ledger::upload::expect_upload,
};

/// A run that reads tokens back, and its findings so far.
#[derive(Debug, Clone)]
pub struct VerifyRun {
    /// The run.
    pub run: Run,
    /// The request, and the findings up to the cursor.
    pub verification: Verification,
    /// A token is in the sample if its hash is not above this limit.
    pub(super) sample_limit: Option<Vec<u8>>,
}

impl Ledger {
    /// Resumes the latest unfinished verification of the same tokens, or starts one. The caller must hold the
    /// lock for verifications.
    ///
    /// # Errors
    /// If the run to verify uploads nothing or does not exist, or the database does not answer.
    pub async fn begin_verification(
        &self,
        chosen: &VerifyRequest,
        holder: &str,
    ) -> Result<VerifyRun, LedgerError> {
        if let Some(run) = chosen.of_run {
            self.with_retry(|| expect_upload(&self.pool, &self.migration, run))
                .await??;
        }
        self.mark_orphaned_interrupted(&[Mode::Verify]).await?;
        let writes = Writes::draw();
        // A `running` row can only come from this statement, if its response was lost.
        let taken_up = self
            .with_retry(|| {
                sqlx::query!(
                    r#"update runs set status = 'running', finished_at = null, stop_reason = null, holder = $3, held_since = now(),
                              epoch = epoch + 1, resumed = true, progressed_at = now(), writes = $8
                       from verifications
                       where run_id = id and status in ('running', 'interrupted', 'stopped')
                         and id = (select max(id) from runs join verifications on run_id = id
                                   where migration = $1 and mode = $2 and of_run is not distinct from $4
                                     and sample is not distinct from $5 and ($6::bigint is null or seed = $6)
                                     and include_expired = $7)
                       returning id, epoch, cursor, requests, retries, rate_limited, lookups, active_seconds, of_run, sample,
                                 seed, include_expired, sample_limit, equal, refreshed, in_part, different, missing,
                                 changed_in_source, gone_from_source, inconclusive, not_read"#,
                    self.migration,
                    Mode::Verify.as_str(),
                    holder,
                    chosen.of_run,
                    chosen.sample,
                    chosen.seed,
                    chosen.include_expired,
                    writes.first,
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        let Some(row) = taken_up else {
            return self.new_verification(chosen, holder, writes).await;
        };
        let verification = Verification {
            of_run: row.of_run,
            sample: row.sample,
            seed: row.seed,
            include_expired: row.include_expired,
            checked: row.equal + row.refreshed + row.in_part + row.different + row.missing,
            equal: row.equal,
            refreshed: row.refreshed,
            in_part: row.in_part,
            different: row.different,
            missing: row.missing,
            changed_in_source: row.changed_in_source,
            gone_from_source: row.gone_from_source,
            inconclusive: row.inconclusive,
            not_read: row.not_read,
            not_uploaded: None,
        };
        let counters = Counters {
            requests: row.requests,
            retries: row.retries,
            rate_limited: row.rate_limited,
            lookups: row.lookups,
            active_seconds: row.active_seconds,
        };
        let run = Run {
            id: row.id,
            epoch: row.epoch,
            resumed: true,
            cursor: row.cursor.map(SourceKey::from),
            tally: verification.tally(),
            counters,
            left: None,
            writes: Arc::new(writes),
        };
        Ok(VerifyRun {
            run,
            verification,
            sample_limit: row.sample_limit,
        })
    }

    async fn new_verification(
        &self,
        chosen: &VerifyRequest,
        holder: &str,
        writes: Writes,
    ) -> Result<VerifyRun, LedgerError> {
        // Short enough to be typed again.
        let seed = chosen
            .sample
            .map(|_| chosen.seed.unwrap_or_else(|| i64::from(rand::random::<u32>())));
        let sample_limit = match chosen.sample {
            Some(sample) => {
                // One pass over the keys; the database keeps only as many of them as the sample has.
                self.with_retry(|| {
                    sqlx::query_scalar!(
                        r#"select sha256(convert_to($3::bigint::text || '/' || source_key, 'UTF8')) as "hash!"
                           from tokens
                           where migration = $1 and state = 'committed' and ($2::bigint is null or run_id = $2)
                           order by 1 limit 1 offset $4::bigint - 1"#,
                        self.migration,
                        chosen.of_run,
                        seed,
                        sample,
                    )
                    .fetch_optional(self.pool.within(MANY_ROWS))
                })
                .await?
            }
            None => None,
        };
        // Not repeated if the response is lost: the next attempt would resume the run.
        let id = sqlx::query_scalar!(
            "with run as (insert into runs (migration, mode, holder, writes) values ($1, $2, $3, $9) returning id)
             insert into verifications (run_id, of_run, sample, seed, sample_limit, include_expired)
             select id, $4, $5, $6, $7, $8 from run returning run_id",
            self.migration,
            Mode::Verify.as_str(),
            holder,
            chosen.of_run,
            chosen.sample,
            seed,
            sample_limit.as_deref(),
            chosen.include_expired,
            writes.first,
        )
        .fetch_one(&self.pool)
        .await?;
        let verification = Verification {
            of_run: chosen.of_run,
            sample: chosen.sample,
            seed,
            include_expired: chosen.include_expired,
            ..Verification::default()
        };
        Ok(VerifyRun {
            run: Run::new(id, writes),
            verification,
            sample_limit,
        })
    }

    /// Advances the cursor and the findings up to it. The numbers are totals, so that a repetition changes
    /// nothing.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn advance_verification(
        &self,
        run: &Run,
        cursor: Option<&SourceKey>,
        found: &Verification,
        counters: &Counters,
    ) -> Result<(), LedgerError> {
        let Tally {
            selected,
            committed,
            failed,
            superseded,
            unchanged,
        } = found.tally();
        let write = run.writes.begin();
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "with run as (
                         update runs set cursor = coalesce($3, cursor), cursor_committed = $4, cursor_failed = $5,
                                cursor_superseded = $6, cursor_unchanged = $7, tokens_selected = $8, tokens_committed = $4,
                                tokens_failed = $5, tokens_superseded = $6, tokens_unchanged = $7, requests = $9, retries = $10,
                                rate_limited = $11, lookups = $12, active_seconds = $13, progressed_at = now(),
                                writes = $24
                         where id = $1 and epoch = $2 and status = 'running' and writes between $25 and $24
                         returning id
                     )
                     update verifications set equal = $14, refreshed = $15, different = $16, missing = $17,
                            changed_in_source = $18, gone_from_source = $19, inconclusive = $20, not_uploaded = $21, in_part = $22,
                            not_read = $23
                     where run_id = (select id from run)",
                    run.id,
                    run.epoch,
                    cursor.map(SourceKey::as_str),
                    committed,
                    failed,
                    superseded,
                    unchanged,
                    selected,
                    counters.requests,
                    counters.retries,
                    counters.rate_limited,
                    counters.lookups,
                    counters.active_seconds,
                    found.equal,
                    found.refreshed,
                    found.different,
                    found.missing,
                    found.changed_in_source,
                    found.gone_from_source,
                    found.inconclusive,
                    found.not_uploaded,
                    found.in_part,
                    found.not_read,
                    write.number,
                    write.after,
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await?;
        run.writes.confirm(&write);
        Ok(())
    }
}
