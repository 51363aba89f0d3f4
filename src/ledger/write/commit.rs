//! Commits: the outcome of a batch that the API stored.

use super::{BatchOutcome, Ledger, LedgerError};
use crate::domain::{Batch, Item};

/// Rows that the ledger already holds for the tokens of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Validation found none, and the tokens replace no others: these are all tokens of the batch.
    New(&'a [Item]),
    /// There may be some.
    Any,
}

impl<'a> Rows<'a> {
    /// Derives it from the validation's result.
    #[must_use]
    pub fn of(batch: &'a Batch) -> Self {
        // Tokens that replace others get their rows together with those.
        if batch.is_new() && batch.items.iter().all(|item| item.replaces.is_none()) {
            Self::New(&batch.items)
        } else {
            Self::Any
        }
    }
}

impl Ledger {
    /// Records that the API stored the batch: the batch, its tokens, and the rows they replace, in one
    /// statement. The tokens are those that the intent recorded.
    ///
    /// # Errors
    /// If the database stays unreachable. The batch is then still in flight, and is settled by the next run.
    pub async fn commit_batch(&self, outcome: &BatchOutcome, rows: Rows<'_>) -> Result<(), LedgerError> {
        let recorded = match rows {
            Rows::New(items) => self.pack(outcome, items).await?,
            Rows::Any => self.write_rows(outcome).await?,
        };
        if !recorded {
            self.expect_state(outcome.batch, "committed").await?;
        }
        self.outcomes.add(outcome.batch);
        Ok(())
    }

    /// The tokens stay in the batch, for now.
    async fn pack(&self, outcome: &BatchOutcome, items: &[Item]) -> Result<bool, LedgerError> {
        let _packing = self.remember_packed(outcome.batch.id, items).await?;
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update batches set state = 'committed', attempts = $2, http_status = $3, finished_at = now(), replaces = null,
                            witnesses = null
                     where id = $1 and nonce = $4 and state = 'in_flight'",
                    outcome.batch.id,
                    outcome.attempts,
                    outcome.http_status,
                    outcome.batch.nonce,
                )
                .execute(&self.pool)
            })
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn write_rows(&self, outcome: &BatchOutcome) -> Result<bool, LedgerError> {
        let written = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"with batch as (
                           select id, run_id, source_keys, fingerprints, destinations, source_versions, app_ids,
                                  user_ids, tenant_ids, replaces, parts
                           from batches where id = $1 and nonce = $5 and state = 'in_flight' for update
                       ), closed as (
                           update batches set state = 'committed', attempts = $2, http_status = $3, finished_at = now(),
                                  source_keys = null, fingerprints = null, destinations = null, source_versions = null,
                                  app_ids = null, user_ids = null, tenant_ids = null, replaces = null, parts = null,
                                  witnesses = null
                           where id = (select id from batch)
                       ), replaced as (
                           -- Usually nothing is replaced, and no row is read. Subselects, since a join may
                           -- be planned from the side of the tokens: every batch would then read all of them.
                           -- The condition on the state is written so that no partial index matches it.
                           update token_rows set state = 'superseded',
                                  -- A code that this run has already recorded says more.
                                  superseded_code = case when outdated_run = (select run_id from batch)
                                         then superseded_code else 'replaced' end,
                                  superseded_by = case when outdated_run = (select run_id from batch) then superseded_by else (
                                      select sent.source_key from batch, unnest(batch.source_keys, batch.destinations)
                                             as sent (source_key, destination)
                                      where sent.destination = token_rows.destination limit 1
                                  ) end,
                                  run_id = (select run_id from batch), updated_at = now()
                           where (select cardinality(replaces) > 0 from batch)
                             and migration = $4 and source_key = any ((select replaces from batch)::text[])
                             and source_key <> all ((select source_keys from batch)::text[])
                             and state not in ('failed', 'superseded')
                             -- The row may have moved to another destination since.
                             and destination = any ((select destinations from batch)::bytea[])
                       ), written as (
                           insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination,
                                  source_version, fingerprint, parts, batch_id, run_id)
                           select $4, sent.source_key, 'committed', sent.app_id, sent.user_id, sent.tenant_id,
                                  sent.destination, sent.source_version, sent.fingerprint, sent.parts, batch.id, batch.run_id
                           from batch, unnest(batch.source_keys, batch.fingerprints, batch.destinations,
                                  batch.source_versions, batch.app_ids, batch.user_ids, batch.tenant_ids, batch.parts)
                                as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id,
                                         parts)
                           on conflict (migration, source_key) do update set
                                  state = 'committed', refused_by = null, error_code = null, reason = null,
                                  superseded_code = null, superseded_by = null,
                                  app_id = excluded.app_id, user_id = excluded.user_id, tenant_id = excluded.tenant_id,
                                  destination = excluded.destination, source_version = excluded.source_version,
                                  fingerprint = excluded.fingerprint, parts = excluded.parts,
                                  batch_id = excluded.batch_id, run_id = excluded.run_id, attempts = token_rows.attempts + 1, updated_at = now()
                           returning 1
                       )
                       select count(*) as "written!" from written"#,
                    outcome.batch.id,
                    outcome.attempts,
                    outcome.http_status,
                    self.migration,
                    outcome.batch.nonce,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        Ok(written > 0)
    }
}
