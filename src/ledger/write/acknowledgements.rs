//! Acknowledgements: failures that somebody knows about and accepts. One holds for the row as it was and for
//! the code it failed with; the view `acknowledged` decides whether it still does.

use super::{Ledger, LedgerError, MANY_ROWS, Run};
use crate::domain::{Acknowledged, CodeCount, FailureFilter};

impl Ledger {
    /// Acknowledges failed tokens, for this reason. Tokens whose outcome is unknown are only included if the
    /// filter names them; they may be stored.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn acknowledge(
        &self,
        filter: &FailureFilter,
        reason: &str,
    ) -> Result<Acknowledged, LedgerError> {
        let names_uncertain = filter.key.is_some() || filter.code.as_deref() == Some("outcome_unknown");
        self.with_retry(|| {
            sqlx::query_as!(
                Acknowledged,
                r#"with failed as (
                       select source_key, refused_by, error_code, source_version, coalesce(row_digest, fingerprint) as digest,
                              refused_by <> 'validation' and (error_code = 'outcome_unknown'
                                  or exists (select from former_places
                                             where former_places.destination = token_rows.destination
                                               and unresolved_batch is not null)) as is_uncertain
                       from token_rows
                       where migration = $1 and state = 'failed' and ($2::text is null or error_code = $2)
                         and ($3::text is null or source_key = $3)
                   ), written as (
                       insert into acknowledgements (migration, source_key, refused_by, error_code, source_version,
                              row_digest, reason)
                       select $1, source_key, refused_by, error_code, source_version, digest, $4
                       from failed
                       where ($5 or not is_uncertain) and (source_version is not null or digest is not null)
                       on conflict (source_key, migration) do update set
                              refused_by = excluded.refused_by, error_code = excluded.error_code,
                              source_version = excluded.source_version, row_digest = excluded.row_digest,
                              reason = excluded.reason, acknowledged_at = now()
                       returning 1
                   )
                   select (select count(*) from written) as "tokens!",
                          count(*) filter (where is_uncertain) as "uncertain!",
                          count(*) filter (where source_version is null and digest is null) as "unrecognisable!",
                          $5 as "includes_uncertain!"
                   from failed"#,
                self.migration,
                filter.code,
                filter.key,
                reason,
                names_uncertain,
            )
            .fetch_one(self.pool.within(MANY_ROWS))
        })
        .await
    }

    /// Takes acknowledgements back, and returns their number.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn unacknowledge(&self, filter: &FailureFilter) -> Result<u64, LedgerError> {
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "delete from acknowledgements
                     where migration = $1 and ($2::text is null or error_code = $2) and ($3::text is null or source_key = $3)",
                    self.migration,
                    filter.code,
                    filter.key,
                )
                .execute(&self.pool)
            })
            .await?;
        Ok(done.rows_affected())
    }

    /// Ends acknowledgements whose rows have changed, or do not fail any more. Returns those failures of the
    /// run that are still acknowledged, by code, each with one of the reasons for accepting them.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn renew_acknowledgements(&self, run: &Run) -> Result<Vec<CodeCount>, LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "delete from acknowledgements as known
                 where migration = $1 and not exists (
                     select from acknowledged
                     where acknowledged.migration = known.migration and acknowledged.source_key = known.source_key)",
                self.migration,
            )
            .execute(&self.pool)
        })
        .await?;
        self.with_retry(|| {
            sqlx::query_as!(
                CodeCount,
                r#"select error_code as "code!", count(*) as "count!", min(reason) as "example!"
                   from acknowledged where migration = $1 and run_id = $2
                   group by error_code order by count(*) desc, error_code"#,
                self.migration,
                run.id,
            )
            .fetch_all(&self.pool)
        })
        .await
    }
}
