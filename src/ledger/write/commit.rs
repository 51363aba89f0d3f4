//! Commits: the outcome of a batch that the API stored.

use super::{BatchOutcome, Ledger, LedgerError};
use crate::{
    domain::{Batch, Item},
    ledger::order_key::order_key_range,
};

/// Packed batches that the keys of another one may lie between. More would make every lookup of such keys
/// slow: tokens of a run over keys that come in no order get rows.
const MOST_OVERLAPPING: i64 = 8;

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
        let is_packed = match rows {
            Rows::New(items) => self.pack(outcome, items).await?,
            Rows::Any => false,
        };
        if !is_packed && !self.write_rows(outcome).await? {
            self.expect_state(outcome.batch, "committed").await?;
        }
        self.outcomes.add(outcome.batch);
        Ok(())
    }

    /// Records a batch whose tokens stay in its row. Returns `false` if they have to get rows of their own:
    /// because one of them may have a row, or too many other batches have tokens between theirs. Or the batch
    /// is not in flight any more.
    async fn pack(&self, outcome: &BatchOutcome, items: &[Item]) -> Result<bool, LedgerError> {
        let Some(range) = order_key_range(items.iter().map(|item| item.key.as_str())) else {
            return Ok(false);
        };
        if !self.token_filters.are_without_rows(items) {
            return Ok(false);
        }
        // Before it is recorded: no packed token is ever missing in the filter.
        self.token_filters
            .add_packed(items.iter().map(|item| item.destination_id));
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update batches set state = 'committed', attempts = $2, http_status = $3, finished_at = now(), replaces = null,
                            witnesses = null, key_range = key_range($5, $6, '[]')
                     where id = $1 and nonce = $4 and state = 'in_flight'
                       and (select count(*) from (
                                select from batches as other
                                where other.key_range && key_range($5, $6, '[]')
                                  and (select migration from runs where runs.id = other.run_id) = $7
                                limit $8::bigint + 1
                            ) as overlapping) <= $8::bigint",
                    outcome.batch.id,
                    outcome.attempts,
                    outcome.http_status,
                    outcome.batch.nonce,
                    range.start(),
                    range.end(),
                    self.migration,
                    MOST_OVERLAPPING,
                )
                .execute(&self.pool)
            })
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Records a batch whose tokens get rows of their own. Returns `false` if it is not in flight any more.
    async fn write_rows(&self, outcome: &BatchOutcome) -> Result<bool, LedgerError> {
        let Some(tokens) = self.tokens_in_flight(outcome.batch).await? else {
            return Ok(false);
        };
        self.move_to_rows(&tokens.changing()).await?;
        self.token_filters
            .add_row_keys(tokens.keys.iter().map(String::as_str));
        self.token_filters.add_row_destinations(tokens.destinations());
        let written = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"with batch as (
                           select id, run_id, replaces
                           from batches where id = $1 and nonce = $5 and state = 'in_flight' for update
                       ), sent as (
                           -- What a batch in flight holds never changes.
                           select batch_tokens.* from batch join batch_tokens on batch_id = batch.id
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
                                      select sent.source_key from sent where sent.destination = token_rows.destination limit 1
                                  ) end,
                                  run_id = (select run_id from batch), updated_at = now()
                           where (select cardinality(replaces) > 0 from batch)
                             and migration = $4 and source_key = any ((select replaces from batch)::text[])
                             and source_key <> all (array(select source_key from sent))
                             and state not in ('failed', 'superseded')
                             -- The row may have moved to another destination since.
                             and destination = any (array(select destination from sent))
                       ), written as (
                           insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination,
                                  source_version, fingerprint, parts, batch_id, run_id)
                           select $4, sent.source_key, 'committed', sent.app_id, sent.user_id, sent.tenant_id,
                                  sent.destination, sent.source_version, sent.fingerprint, sent.parts, batch.id, batch.run_id
                           from batch, sent
                           on conflict (migration, source_key) do update set
                                  state = 'committed', refused_by = null, error_code = null, reason = null,
                                  superseded_code = null, superseded_by = null,
                                  app_id = excluded.app_id, user_id = excluded.user_id, tenant_id = excluded.tenant_id,
                                  destination = excluded.destination, source_version = excluded.source_version,
                                  fingerprint = excluded.fingerprint, parts = excluded.parts, row_digest = null,
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
