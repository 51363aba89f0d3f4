//! Packed batches: all of it is stored and recorded, and its tokens stand in the batch's own row, as they did
//! before it was sent. Filing gives them rows of their own in `token_rows`, many batches at once.
//!
//! Only rows are found by key or place. So whatever earlier processes left packed is filed before a process
//! asks its first question about tokens, and after it has settled what they left in flight; and a process
//! that packs remembers the places it packed, and files those batches before it asks about one of them. A
//! batch whose recording is under way is found by neither: its page has no end yet, and whoever asks about a
//! place of such a page waits for that first.

use std::sync::{MutexGuard, PoisonError};

use fail::fail_point;
use sqlx::Executor;
use tracing::debug;

use super::{
    Ledger, LedgerError, MANY_ROWS, Run,
    packed::{Packed, PackedBatch, first_of},
};
use crate::{
    domain::{DestinationId, Item},
    postgres::Session,
};

/// Maximum number of places for which looking up their batches is cheaper than filing all batches.
const FEW: usize = 8;

/// Held while a batch that is already remembered is recorded as committed.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    ledger: &'a Ledger,
    batch: i64,
}

impl Drop for Packing<'_> {
    fn drop(&mut self) {
        self.ledger.packed().recorded(self.batch);
    }
}

/// Gives tokens of batches rows of their own, in one statement. Expands to a query, so that each form of it
/// is checked at compile time.
macro_rules! file {
    ($batches:expr, select: $select:literal, rest: $rest:literal) => {
        sqlx::query!(
            "with packed as (
                 select id, run_id, finished_at, source_keys, fingerprints, destinations, source_versions, app_ids, user_ids,
                        tenant_ids, parts
                 from batches where id = any($1) and state = 'committed' and source_keys is not null
                 order by id for update
             ), emptied as (
                 update batches set source_keys = null, fingerprints = null, destinations = null, source_versions = null,
                        app_ids = null, user_ids = null, tenant_ids = null, parts = null
                 where id in (select id from packed)
             )
             insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination, source_version,
                    fingerprint, parts, batch_id, run_id, first_seen_at, updated_at)
             " + $select
                + " runs.migration, sent.source_key, 'committed', sent.app_id, sent.user_id, sent.tenant_id, sent.destination,
                    sent.source_version, sent.fingerprint, sent.parts, packed.id, packed.run_id, packed.finished_at, packed.finished_at
             from packed join runs on runs.id = packed.run_id
                  cross join lateral unnest(packed.source_keys, packed.fingerprints, packed.destinations,
                         packed.source_versions, packed.app_ids, packed.user_ids, packed.tenant_ids, packed.parts)
                       as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id, parts)
             " + $rest,
            $batches,
        )
    };
}

impl Ledger {
    /// Remembers what is about to be packed, before it is recorded: never is a place packed that is not
    /// remembered. Filing keeps step with it, so that there is never too much of it.
    pub(super) async fn remember_packed(
        &self,
        batch: i64,
        items: &[Item],
    ) -> Result<Packing<'_>, LedgerError> {
        while self.packed().is_ripe() || self.packed().lags() {
            let _one_at_a_time = self.filing.lock().await;
            // Another task may have done it while this one waited.
            if self.packed().is_ripe() {
                self.packed().rotate();
            } else if self.packed().lags() {
                self.file_next().await?;
            }
        }
        self.packed()
            .add(batch, items.iter().map(|item| item.destination_id));
        Ok(Packing { ledger: self, batch })
    }

    /// Files what was packed before the last call. Called every few seconds, it leaves little for the next
    /// process.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn file_older(&self) -> Result<(), LedgerError> {
        let _one_at_a_time = self.filing.lock().await;
        while self.file_next().await? {}
        self.packed().rotate();
        Ok(())
    }

    /// Files what other processes left packed, of whatever migration: a place belongs to all of them. Nothing
    /// of theirs may be in flight that could be packed later, or it has to be looked after again.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn file_left_behind(&self) -> Result<(), LedgerError> {
        let left = self
            .with_retry(|| {
                sqlx::query_as!(
                    PackedBatch,
                    "select id, token_count from batches where state = 'committed' and source_keys is not null order by id"
                )
                .fetch_all(&self.pool)
            })
            .await?;
        self.file(&left).await
    }

    /// Files what processes of other runs have packed by now, though they may be at work still.
    pub(super) async fn file_left_behind_by_others(&self, run: &Run) -> Result<(), LedgerError> {
        let left = self
            .with_retry(|| {
                sqlx::query_as!(
                    PackedBatch,
                    "select id, token_count from batches
                     where state = 'committed' and source_keys is not null and run_id <> $1 order by id",
                    run.id,
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
            .with_retry(|| {
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

    /// Files a part of the older generation; `false` if nothing of it can be filed. Only with `filing` held.
    async fn file_next(&self) -> Result<bool, LedgerError> {
        let next = self.packed().next();
        if next.is_empty() {
            return Ok(false);
        }
        self.file(&next).await?;
        self.packed().filed(&next);
        Ok(true)
    }

    /// Gives the tokens of these batches rows of their own. Batches that were filed meanwhile, or that are
    /// not packed yet, are passed over.
    async fn file(&self, batches: &[PackedBatch]) -> Result<(), LedgerError> {
        let mut rest = batches;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(first_of(rest.iter().copied()).count());
            rest = later;
            let ids: Vec<i64> = now.iter().map(|batch| batch.id).collect();
            let filed = match self.with_retry(|| self.file_at_once(&ids, Keys::New)).await {
                Err(LedgerError::Database(failure)) if failure.is_duplicate() => {
                    self.with_retry(|| self.file_at_once(&ids, Keys::Any)).await?
                }
                filed => filed?,
            };
            fail_point!("filed");
            debug!(batches = ids.len(), tokens = filed, "filed");
        }
        Ok(())
    }

    async fn file_at_once(&self, batches: &[i64], keys: Keys) -> Result<u64, sqlx::Error> {
        let mut session = self.pool.acquire(MANY_ROWS).await?;
        // Many rows may take longer than the role's timeouts, and a session that files the same rows is
        // waited for.
        session
            .execute("begin; set local statement_timeout = 0; set local lock_timeout = 0")
            .await?;
        let filed = keys.file(batches, &mut session).await?;
        session.execute("commit").await?;
        session.done();
        Ok(filed)
    }

    fn packed(&self) -> MutexGuard<'_, Packed> {
        // Every change under the lock is complete before anything can panic.
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An assumption about the keys of packed batches.
#[derive(Debug, Clone, Copy)]
enum Keys {
    /// None of them has a row, nor is packed twice: only batches of rows without an outcome are packed. Costs
    /// the database little more than half, and is turned down if it is not so.
    New,
    /// Were there such a key, its later outcome counts: no single token may keep all the others from being
    /// filed.
    Any,
}

impl Keys {
    async fn file(self, batches: &[i64], session: &mut Session) -> Result<u64, sqlx::Error> {
        let filed = match self {
            Self::New => file!(batches, select: "select", rest: "").execute(session).await?,
            Self::Any => {
                file!(
                    batches,
                    select: "select distinct on (runs.migration, sent.source_key)",
                    rest: "order by runs.migration, sent.source_key, packed.finished_at desc, packed.id desc
                           on conflict (migration, source_key) do update set
                                  state = 'committed', refused_by = null, error_code = null, reason = null,
                                  superseded_code = null, superseded_by = null,
                                  app_id = excluded.app_id, user_id = excluded.user_id, tenant_id = excluded.tenant_id,
                                  destination = excluded.destination, source_version = excluded.source_version,
                                  fingerprint = excluded.fingerprint, parts = excluded.parts,
                                  batch_id = excluded.batch_id, run_id = excluded.run_id, attempts = token_rows.attempts + 1,
                                  updated_at = excluded.updated_at
                           where token_rows.updated_at <= excluded.updated_at"
                )
                .execute(session)
                .await?
            }
        };
        Ok(filed.rows_affected())
    }
}
