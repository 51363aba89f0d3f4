//! The outcome of a batch that arrived.

use super::{Ledger, LedgerError, OutcomeOf};
use crate::model::Batch;

/// What the ledger holds already of the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Nothing, as was known when they were screened.
    New,
    /// An outcome of some of them, perhaps.
    Any,
}

impl Rows {
    /// As the rows were screened.
    #[must_use]
    pub fn of(batch: &Batch) -> Self {
        if batch.is_new() { Self::New } else { Self::Any }
    }
}

/// The batch, its tokens and the rows they replace, in one statement. Expands to a query, so that every form of it is
/// checked at compile time.
macro_rules! commit {
    ($outcome:expr, $migration:expr, on conflict: $on_conflict:literal) => {
        sqlx::query_scalar!(
            r#"with batch as (
                   select id, run_id, source_keys, fingerprints, destinations, source_versions, app_ids,
                          user_ids, tenant_ids, replaces
                   from batches where id = $1 and state = 'in_flight' for update
               ), closed as (
                   update batches set state = 'committed', attempts = $2, http_status = $3, finished_at = now(),
                          source_keys = null, fingerprints = null, destinations = null, source_versions = null,
                          app_ids = null, user_ids = null, tenant_ids = null, replaces = null
                   where id = (select id from batch)
               ), replaced as (
                   -- Mostly nothing is replaced, and then no row is looked at. Subselects and no join: a join may
                   -- be planned from the side of the tokens, and then every batch reads all of them. The
                   -- condition on the state is worded so that no partial index seems to fit it.
                   update tokens set state = 'superseded', run_id = (select run_id from batch), updated_at = now()
                   where (select cardinality(replaces) > 0 from batch)
                     and migration = $4 and source_key = any ((select replaces from batch)::text[])
                     and source_key <> all ((select source_keys from batch)::text[])
                     and state not in ('failed', 'superseded')
                     -- It may have been sent to another destination meanwhile.
                     and destination = any ((select destinations from batch)::bytea[])
               ), written as (
                   insert into tokens (migration, source_key, state, app_id, user_id, tenant_id, destination,
                          source_version, fingerprint, batch_id, run_id)
                   select $4, sent.source_key, 'committed', sent.app_id, sent.user_id, sent.tenant_id,
                          sent.destination, sent.source_version, sent.fingerprint, batch.id, batch.run_id
                   from batch, unnest(batch.source_keys, batch.fingerprints, batch.destinations,
                          batch.source_versions, batch.app_ids, batch.user_ids, batch.tenant_ids)
                        as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id)
                   "#
                + $on_conflict
                + r#"
                   returning 1
               )
               select count(*) as "written!" from written"#,
            $outcome.batch,
            $outcome.attempts,
            $outcome.http_status,
            $migration,
        )
    };
}

impl Ledger {
    /// Records that the API stored all of the batch: the batch, its tokens, and the rows they replace, in one
    /// transaction. The tokens are taken from what was recorded before the request left.
    ///
    /// # Errors
    /// If the database stays away. The batch is then still in flight, and is settled by the next run.
    pub async fn commit_batch(&self, outcome: &OutcomeOf, rows: Rows) -> Result<(), LedgerError> {
        let written = match rows {
            Rows::New => match self.insert(outcome).await {
                // They are not new after all: nothing is written, and the other statement is right for any row.
                Err(LedgerError::Database(failure)) if failure.is_duplicate() => self.upsert(outcome).await?,
                written => written?,
            },
            Rows::Any => self.upsert(outcome).await?,
        };
        if written == 0 {
            self.expect_state(outcome.batch, "committed").await
        } else {
            Ok(())
        }
    }

    /// Costs the database a third less than looking for each row first, and is turned down if there is one.
    async fn insert(&self, outcome: &OutcomeOf) -> Result<i64, LedgerError> {
        self.persist(|| commit!(outcome, self.migration, on conflict: "").fetch_one(&self.pool))
            .await
    }

    async fn upsert(&self, outcome: &OutcomeOf) -> Result<i64, LedgerError> {
        self.persist(|| {
            commit!(outcome, self.migration, on conflict: "on conflict (migration, source_key) do update set
                          state = 'committed', refused_by = null, error_code = null, reason = null,
                          app_id = excluded.app_id, user_id = excluded.user_id, tenant_id = excluded.tenant_id,
                          destination = excluded.destination, source_version = excluded.source_version,
                          fingerprint = excluded.fingerprint, batch_id = excluded.batch_id,
                          run_id = excluded.run_id, attempts = tokens.attempts + 1, updated_at = now()")
            .fetch_one(&self.pool)
        })
        .await
    }
}
