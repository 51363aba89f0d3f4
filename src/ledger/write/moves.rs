//! Moves of packed tokens to rows of their own. A move changes nothing about a token, so it may happen at any
//! time; it has to happen before anything about the token changes.

use fail::fail_point;
use tracing::debug;

use super::{BatchRef, Ledger, LedgerError, MANY_ROWS, RollbackRun, columns::column};
use crate::{domain::DestinationId, ledger::order_key::order_key};

/// Approximate number of rows that one statement writes.
const ROWS_AT_ONCE: i64 = 50_000;

/// The tokens of a batch in flight, as its row holds them.
#[derive(Debug)]
pub(super) struct TokensInFlight {
    pub(super) keys: Vec<String>,
    destinations: Vec<u8>,
    /// Keys of rows that these tokens replace.
    replaces: Vec<String>,
}

impl TokensInFlight {
    pub(super) fn destinations(&self) -> impl Iterator<Item = DestinationId> {
        let (destinations, _) = self.destinations.as_chunks::<16>();
        destinations
            .iter()
            .filter_map(|bytes| DestinationId::from_slice(bytes))
    }

    /// Returns the keys of all rows that change when the batch is committed.
    pub(super) fn changing(&self) -> Vec<&str> {
        self.keys
            .iter()
            .chain(&self.replaces)
            .map(String::as_str)
            .collect()
    }
}

impl Ledger {
    /// Returns the tokens of a batch; `None` if it is not in flight.
    pub(super) async fn tokens_in_flight(
        &self,
        batch: BatchRef,
    ) -> Result<Option<TokensInFlight>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_as!(
                TokensInFlight,
                r#"select source_keys as "keys!", destinations as "destinations!", coalesce(replaces, '{}') as "replaces!"
                   from batches where id = $1 and nonce = $2 and state = 'in_flight'"#,
                batch.id,
                batch.nonce,
            )
            .fetch_optional(&self.pool)
        })
        .await
    }

    /// Gives those tokens of this migration with one of these keys that are packed rows of their own.
    pub(super) async fn move_to_rows(&self, keys: &[&str]) -> Result<(), LedgerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let order_keys = column(keys, |key| order_key(key));
        let order_keys = column(&order_keys, |key| &**key);
        let batches = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"select distinct batch.id as "id!"
                       from unnest($2::text[], $3::text[]) as asked (row_key, order_key) cross join lateral (
                              select id from batches
                              where key_range @> asked.order_key
                                and (select migration from runs where runs.id = run_id) = $1 offset 0
                       ) as batch
                       where not exists (select from token_rows where migration = $1 and source_key = asked.row_key)"#,
                    self.migration,
                    keys as &[&str],
                    &order_keys as &[&str],
                )
                .fetch_all(&self.pool)
            })
            .await?;
        if batches.is_empty() {
            return Ok(());
        }
        // Before they are: a try whose response is lost may have moved them.
        self.token_filters.add_row_keys(keys.iter().copied());
        self.move_from(&batches, Some(keys)).await
    }

    /// Gives all packed tokens of the run that is rolled back rows of their own.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn move_all_to_rows(&self, of: &RollbackRun) -> Result<(), LedgerError> {
        loop {
            let batches = self
                .with_retry(|| {
                    sqlx::query_scalar!(
                        r#"select id from (
                               select id, sum(token_count) over (order by id) - token_count as before
                               from batches where run_id = $1 and key_range is not null
                           ) as packed where before < $2"#,
                        of.rollback_request.of_run,
                        ROWS_AT_ONCE,
                    )
                    .fetch_all(&self.pool)
                })
                .await?;
            if batches.is_empty() {
                return Ok(());
            }
            self.move_from(&batches, None).await?;
        }
    }

    /// Moves the tokens with these keys, or all, out of these batches.
    async fn move_from(&self, batches: &[i64], keys: Option<&[&str]>) -> Result<(), LedgerError> {
        let moved = self
            .with_retry(|| {
                sqlx::query!(
                    r#"with held as (
                           select * from batch_tokens
                           where batch_id = any($1) and batch_state = 'committed'
                             and ($2::text[] is null or source_key in (select unnest($2::text[])))
                       ), locked as (
                           -- As it is now, even if a statement that was waited for has moved some of them.
                           select id, token_count, coalesce(moved, '{}') as moved from batches
                           where id in (select batch_id from held) and key_range is not null
                           order by id for update
                       ), moving as (
                           select held.* from held join locked on locked.id = batch_id where position <> all (locked.moved)
                       ), taken as (
                           select batch_id, array_agg(position) as positions from moving group by batch_id
                       ), ended as (
                           -- Nothing of it is left.
                           update batches set key_range = null, source_keys = null, fingerprints = null, destinations = null,
                                  source_versions = null, app_ids = null, user_ids = null, tenant_ids = null, parts = null,
                                  moved = null
                           from taken join locked on locked.id = batch_id
                           where batches.id = batch_id and cardinality(locked.moved || positions) = locked.token_count
                       ), marked as (
                           update batches set moved = locked.moved || positions
                           from taken join locked on locked.id = batch_id
                           where batches.id = batch_id and cardinality(locked.moved || positions) < locked.token_count
                       )
                       insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination,
                              source_version, fingerprint, parts, batch_id, run_id, first_seen_at, updated_at)
                       select migration, source_key, 'committed', app_id, user_id, tenant_id, destination, source_version,
                              fingerprint, parts, batch_id, run_id, finished_at, finished_at
                       from moving
                       on conflict (source_key, migration) do nothing
                       returning source_key, destination"#,
                    batches,
                    keys as Option<&[&str]>,
                )
                .fetch_all(self.pool.within(MANY_ROWS))
            })
            .await?;
        fail_point!("moved");
        debug!(tokens = moved.len(), "moved packed tokens to rows");
        let destinations = moved.iter().filter_map(|row| row.destination.as_deref());
        self.token_filters
            .add_row_destinations(destinations.filter_map(DestinationId::from_slice));
        Ok(())
    }
}
