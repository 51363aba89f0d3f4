//! Packed batches: all of it is stored and recorded, and its tokens stand in the batch's own row, as they did before it was
//! sent. Filing gives them rows of their own in `token_rows`, many batches at once.
//!
//! Only rows are found by key or place. So whatever earlier processes left packed is filed before a process asks its first
//! question about tokens, and after it has settled what they left in flight; and a process that packs remembers the places it
//! packed, and files those batches before it asks about one of them. A batch whose recording is under way is found by neither:
//! its page has no end yet, and whoever asks about a place of such a page waits for that first.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
};

use fail::fail_point;
use sqlx::Executor;
use tracing::debug;

use super::{Ledger, LedgerError};
use crate::model::{DestinationId, Filter, Item};

/// So many tokens are packed before the ones before them are filed; a process that is started again finds at most twice as
/// many to file.
const MOST_PACKED: usize = 250_000;

/// About so many rows are written by one statement.
const FILED_AT_ONCE: i32 = 50_000;

/// Beyond so many places that may be packed, looking for their batches costs more than filing all of them.
const FEW: usize = 8;

/// What this process packed and has not filed since, in two generations: while the older one is filed, the newer one grows.
#[derive(Debug, Default)]
pub(super) struct Packed {
    older: Generation,
    newer: Generation,
    /// Remembered, and not recorded as committed yet.
    under_way: HashSet<i64>,
}

#[derive(Debug)]
struct Generation {
    batches: Vec<PackedBatch>,
    tokens: usize,
    places: Filter,
}

#[derive(Debug, Clone, Copy)]
struct PackedBatch {
    id: i64,
    token_count: i32,
}

/// Held while a batch that is remembered already is recorded as committed.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    ledger: &'a Ledger,
    batch: i64,
}

impl Drop for Packing<'_> {
    fn drop(&mut self) {
        self.ledger.packed().under_way.remove(&self.batch);
    }
}

impl Packed {
    fn add(&mut self, batch: i64, items: &[Item]) {
        for item in items {
            self.newer.places.add(&item.destination_id);
        }
        self.newer.tokens += items.len();
        self.newer.batches.push(PackedBatch {
            id: batch,
            token_count: i32::try_from(items.len()).unwrap_or(i32::MAX),
        });
        self.under_way.insert(batch);
    }

    fn may_hold(&self, place: &DestinationId) -> bool {
        [&self.older, &self.newer]
            .into_iter()
            .any(|generation| generation.tokens > 0 && generation.places.may_hold(place))
    }

    /// The batches to be filed next, and whether all of them can be: those under way are passed over, and must not be
    /// forgotten.
    fn oldest(&self) -> (Vec<PackedBatch>, bool) {
        let batches = self.older.batches.clone();
        let complete = !batches.iter().any(|batch| self.under_way.contains(&batch.id));
        (batches, complete)
    }

    fn all(&self) -> Vec<PackedBatch> {
        [&self.older.batches[..], &self.newer.batches].concat()
    }

    /// The older generation was filed.
    fn turn(&mut self) {
        self.older = std::mem::take(&mut self.newer);
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            batches: Vec::new(),
            tokens: 0,
            places: Filter::with_room_for(MOST_PACKED),
        }
    }
}

impl Ledger {
    /// Remembers what is about to be packed, before it is recorded: never is a place packed that is not remembered. Keeps it
    /// from becoming too much.
    pub(super) async fn remember_packed(
        &self,
        batch: i64,
        items: &[Item],
    ) -> Result<Packing<'_>, LedgerError> {
        if self.packed().newer.tokens >= MOST_PACKED {
            let _one_at_a_time = self.filing.lock().await;
            // Another task may have made room while this one waited.
            if self.packed().newer.tokens >= MOST_PACKED {
                self.file_and_turn().await?;
            }
        }
        self.packed().add(batch, items);
        Ok(Packing { ledger: self, batch })
    }

    /// Files what was packed before the last call. Called every few seconds, it leaves little for the next process.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn file_older(&self) -> Result<(), LedgerError> {
        let _one_at_a_time = self.filing.lock().await;
        self.file_and_turn().await
    }

    /// Files what other processes left packed, of whatever migration: a place belongs to all of them. Nothing of theirs may be
    /// in flight that could be packed later, or it has to be looked after again.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn file_left_behind(&self) -> Result<(), LedgerError> {
        let left = self
            .persist(|| {
                sqlx::query_as!(
                    PackedBatch,
                    "select id, token_count from batches where state = 'committed' and source_keys is not null order by id"
                )
                .fetch_all(&self.pool)
            })
            .await?;
        self.file(&left).await
    }

    /// Files the batches that hold one of these places, so that they are found by it.
    pub(super) async fn file_those_at(&self, places: &[DestinationId]) -> Result<(), LedgerError> {
        let (suspects, all) = {
            let packed = self.packed();
            let suspects: Vec<&[u8]> = places
                .iter()
                .filter(|place| packed.may_hold(place))
                .map(|place| &place.as_bytes()[..])
                .collect();
            let all = if suspects.len() > FEW {
                packed.all()
            } else {
                Vec::new()
            };
            (suspects, all)
        };
        if suspects.is_empty() {
            return Ok(());
        }
        if suspects.len() > FEW {
            return self.file(&all).await;
        }
        let found = self
            .persist(|| {
                sqlx::query_as!(
                    PackedBatch,
                    "select id, token_count from batches
                     where state = 'committed' and source_keys is not null and destinations && $1 order by id",
                    &suspects as &[&[u8]],
                )
                .fetch_all(&self.pool)
            })
            .await?;
        self.file(&found).await
    }

    async fn file_and_turn(&self) -> Result<(), LedgerError> {
        let (oldest, complete) = self.packed().oldest();
        self.file(&oldest).await?;
        if complete {
            self.packed().turn();
        }
        Ok(())
    }

    /// Gives the tokens of these batches rows of their own. Batches that were filed meanwhile, or that are not packed yet, are
    /// passed over.
    async fn file(&self, batches: &[PackedBatch]) -> Result<(), LedgerError> {
        let mut rest = batches;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fit = rest.iter().take_while(|batch| {
                let fits = tokens < FILED_AT_ONCE;
                tokens += batch.token_count;
                fits
            });
            let (now, later) = rest.split_at(fit.count());
            rest = later;
            let ids: Vec<i64> = now.iter().map(|batch| batch.id).collect();
            let filed = self.persist(|| self.file_at_once(&ids)).await?;
            fail_point!("filed");
            debug!(batches = ids.len(), tokens = filed, "filed");
        }
        Ok(())
    }

    async fn file_at_once(&self, batches: &[i64]) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // So many rows may take longer than a role lets its statements, and one that files the same is waited for.
        transaction
            .execute("set local statement_timeout = 0; set local lock_timeout = 0")
            .await?;
        let filed = sqlx::query!(
            "with packed as (
                 select id, run_id, finished_at, source_keys, fingerprints, destinations, source_versions, app_ids, user_ids,
                        tenant_ids
                 from batches where id = any($1) and state = 'committed' and source_keys is not null
                 order by id for update
             ), emptied as (
                 update batches set source_keys = null, fingerprints = null, destinations = null, source_versions = null,
                        app_ids = null, user_ids = null, tenant_ids = null
                 where id in (select id from packed)
             )
             insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination, source_version,
                    fingerprint, batch_id, run_id, first_seen_at, updated_at)
             -- Only batches of rows without an outcome are packed. Were there one, here or in the table, the later counts: no
             -- single token may keep all the others from being filed.
             select distinct on (runs.migration, sent.source_key)
                    runs.migration, sent.source_key, 'committed', sent.app_id, sent.user_id, sent.tenant_id, sent.destination,
                    sent.source_version, sent.fingerprint, packed.id, packed.run_id, packed.finished_at, packed.finished_at
             from packed join runs on runs.id = packed.run_id
                  cross join lateral unnest(packed.source_keys, packed.fingerprints, packed.destinations,
                         packed.source_versions, packed.app_ids, packed.user_ids, packed.tenant_ids)
                       as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id)
             order by runs.migration, sent.source_key, packed.finished_at desc, packed.id desc
             on conflict (migration, source_key) do update set
                    state = 'committed', refused_by = null, error_code = null, reason = null, app_id = excluded.app_id,
                    user_id = excluded.user_id, tenant_id = excluded.tenant_id, destination = excluded.destination,
                    source_version = excluded.source_version, fingerprint = excluded.fingerprint,
                    batch_id = excluded.batch_id, run_id = excluded.run_id, attempts = token_rows.attempts + 1,
                    updated_at = excluded.updated_at
             where token_rows.updated_at <= excluded.updated_at",
            batches,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(filed.rows_affected())
    }

    fn packed(&self) -> MutexGuard<'_, Packed> {
        // Every change under the lock is complete before anything can panic.
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
