//! Packed tokens: those that stay in the row of the batch in which they were stored. They are found by the
//! range of their keys, or by reading the destinations of all.

use std::{collections::HashSet, sync::Arc};

use foldhash::fast::RandomState;
use futures_util::TryStreamExt;

use super::{Ledger, LedgerError, MANY_ROWS, columns::column};
use crate::{
    domain::{DestinationId, RunId, SourceKey, Version},
    ledger::order_key::{order_key, order_key_range},
    secret::{Fingerprint, Parts},
};

/// Batches of which one statement reads the destinations.
pub(super) const BATCHES_AT_ONCE: usize = 256;

/// With more batches between the keys of a lookup, they do not come from one page: each is looked for by
/// itself.
const MOST_BETWEEN: usize = 128;

/// A packed token.
#[derive(Debug, Clone)]
pub(super) struct PackedToken {
    pub(super) key: SourceKey,
    pub(super) destination: DestinationId,
    pub(super) version: Version,
    pub(super) fingerprint: Fingerprint,
    pub(super) parts: Option<Parts>,
    pub(super) batch: i64,
    pub(super) run: RunId,
    /// The migration, if it is another one, and whether its token went to this run's target, if that is
    /// known.
    pub(super) sibling: Option<(Arc<str>, bool)>,
}

/// The columns of a batch that hold its packed tokens.
#[derive(Debug)]
struct PackedColumns {
    id: i64,
    run_id: RunId,
    source_keys: Vec<String>,
    source_versions: Option<Vec<Option<i64>>>,
    fingerprints: Vec<u8>,
    destinations: Vec<u8>,
    parts: Option<Vec<u8>>,
    moved: Option<Vec<i32>>,
    sibling: Option<String>,
    is_here: bool,
}

impl PackedColumns {
    /// Adds the tokens that are wanted to `found`.
    fn collect(
        mut self,
        found: &mut Vec<PackedToken>,
        is_wanted: impl Fn(&str, &DestinationId) -> bool,
    ) -> Result<(), LedgerError> {
        let (fingerprints, _) = self.fingerprints.as_chunks::<32>();
        let parts = self
            .parts
            .as_deref()
            .map(|parts| parts.as_chunks::<{ Parts::STORED }>().0);
        let tokens = self.source_keys.len();
        if fingerprints.len() != tokens || self.destinations.len() != tokens * 16 {
            return Err(malformed(self.id));
        }
        let sibling = self.sibling.map(|migration| (migration.into(), self.is_here));
        for (position, destination) in destinations_of(self.id, &self.destinations, self.moved.as_deref())? {
            let key = std::mem::take(&mut self.source_keys[position]);
            if !is_wanted(&key, &destination) {
                continue;
            }
            let fingerprint = Fingerprint::from_slice(&fingerprints[position]);
            let versions = self.source_versions.as_ref();
            found.push(PackedToken {
                key: SourceKey::from(key),
                destination,
                version: Version::new(versions.and_then(|versions| *versions.get(position)?)),
                fingerprint: fingerprint.ok_or_else(|| malformed(self.id))?,
                parts: parts.and_then(|parts| Parts::from_slice(parts.get(position)?)),
                batch: self.id,
                run: self.run_id,
                sibling: sibling.clone(),
            });
        }
        Ok(())
    }
}

fn malformed(batch: i64) -> LedgerError {
    LedgerError::Contradiction(format!("the tokens of batch {batch} are malformed"))
}

/// Returns the destinations of a batch that have not moved, with their positions from 0.
fn destinations_of<'a>(
    batch: i64,
    packed: &'a [u8],
    moved: Option<&[i32]>,
) -> Result<impl Iterator<Item = (usize, DestinationId)> + 'a, LedgerError> {
    let (packed, []) = packed.as_chunks::<16>() else {
        return Err(malformed(batch));
    };
    let moved: HashSet<usize, RandomState> = moved
        .unwrap_or_default()
        .iter()
        .filter_map(|&position| usize::try_from(position - 1).ok())
        .collect();
    let all = packed.iter().enumerate();
    Ok(all.filter_map(move |(position, bytes)| {
        let destination = DestinationId::from_slice(bytes)?;
        (!moved.contains(&position)).then_some((position, destination))
    }))
}

impl Ledger {
    /// Returns the packed tokens of this migration's rows with these keys.
    pub(super) async fn packed_with_keys(&self, keys: &[&str]) -> Result<Vec<PackedToken>, LedgerError> {
        let mut batches = self.batches_between(keys).await?;
        if batches.len() > MOST_BETWEEN {
            batches = self.batches_around(keys).await?;
        }
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let keys: HashSet<&str, RandomState> = keys.iter().copied().collect();
        self.with_retry(|| self.fetch_with(&batches, &keys)).await?
    }

    /// Returns the batches with tokens between the least and the greatest of these keys: those of a page's
    /// rows, and few others. At most one more than [`MOST_BETWEEN`].
    async fn batches_between(&self, keys: &[&str]) -> Result<Vec<i64>, LedgerError> {
        let Some(range) = order_key_range(keys.iter().copied()) else {
            return Ok(Vec::new());
        };
        self.with_retry(|| {
            sqlx::query_scalar!(
                "select id from batches
                 where key_range && key_range($2, $3, '[]') and (select migration from runs where runs.id = run_id) = $1
                 limit $4",
                self.migration,
                range.start(),
                range.end(),
                i64::try_from(MOST_BETWEEN + 1).unwrap_or(i64::MAX),
            )
            .fetch_all(&self.pool)
        })
        .await
    }

    /// Returns the batches that may hold one of these keys, which are far apart.
    async fn batches_around(&self, keys: &[&str]) -> Result<Vec<i64>, LedgerError> {
        let order_keys = column(keys, |key| order_key(key));
        let order_keys = column(&order_keys, |key| &**key);
        self.with_retry(|| {
            sqlx::query_scalar!(
                r#"select distinct batch.id as "id!"
                   from unnest($2::text[]) as asked (order_key) cross join lateral (
                          select id from batches
                          where key_range @> asked.order_key
                            and (select migration from runs where runs.id = run_id) = $1 offset 0
                   ) as batch"#,
                self.migration,
                &order_keys as &[&str],
            )
            .fetch_all(&self.pool)
        })
        .await
    }

    async fn fetch_with(
        &self,
        batches: &[i64],
        keys: &HashSet<&str, RandomState>,
    ) -> Result<Result<Vec<PackedToken>, LedgerError>, sqlx::Error> {
        let mut session = self.pool.acquire(MANY_ROWS).await?;
        let mut found = Vec::new();
        {
            let mut batches = sqlx::query_as!(
                PackedColumns,
                r#"select id, run_id, source_keys as "source_keys!", source_versions as "source_versions?: Vec<Option<i64>>",
                          fingerprints as "fingerprints!", destinations as "destinations!", parts, moved,
                          null::text as sibling, true as "is_here!"
                   from batches where id = any($1) and key_range is not null"#,
                batches,
            )
            .fetch(&mut *session);
            while let Some(batch) = batches.try_next().await? {
                if let Err(error) = batch.collect(&mut found, |key, _| keys.contains(key)) {
                    return Ok(Err(error));
                }
            }
        }
        session.done();
        Ok(Ok(found))
    }

    /// Returns the packed tokens of any migration at these destinations. Reads the destinations of all packed
    /// tokens.
    pub(super) async fn packed_at(
        &self,
        destinations: &[DestinationId],
    ) -> Result<Vec<PackedToken>, LedgerError> {
        if destinations.is_empty() {
            return Ok(Vec::new());
        }
        let asked: HashSet<DestinationId, RandomState> = destinations.iter().copied().collect();
        let (mut holders, mut after) = (Vec::new(), 0);
        loop {
            let batches = self.packed_destinations(after).await?;
            let Some(last) = batches.last() else { break };
            after = last.id;
            for batch in &batches {
                if batch
                    .destinations()?
                    .any(|destination| asked.contains(&destination))
                {
                    holders.push(batch.id);
                }
            }
        }
        if holders.is_empty() {
            return Ok(Vec::new());
        }
        self.with_retry(|| self.fetch_of(&holders, &asked)).await?
    }

    async fn fetch_of(
        &self,
        batches: &[i64],
        destinations: &HashSet<DestinationId, RandomState>,
    ) -> Result<Result<Vec<PackedToken>, LedgerError>, sqlx::Error> {
        let mut session = self.pool.acquire(MANY_ROWS).await?;
        let mut found = Vec::new();
        {
            let mut batches = sqlx::query_as!(
                PackedColumns,
                r#"select batches.id, run_id, source_keys as "source_keys!",
                          source_versions as "source_versions?: Vec<Option<i64>>", fingerprints as "fingerprints!",
                          destinations as "destinations!", parts, moved, nullif(migration, $2) as sibling,
                          -- Of other migrations, tokens that went to the same target, if it is known.
                          (migration = $2 or coalesce(coalesce(nullif(api, ''), $3) = $3, false)) as "is_here!"
                   from batches join runs on runs.id = run_id
                   where batches.id = any($1) and key_range is not null"#,
                batches,
                self.migration,
                self.target.as_deref(),
            )
            .fetch(&mut *session);
            while let Some(batch) = batches.try_next().await? {
                if let Err(error) =
                    batch.collect(&mut found, |_, destination| destinations.contains(destination))
                {
                    return Ok(Err(error));
                }
            }
        }
        session.done();
        Ok(Ok(found))
    }

    /// Returns the next packed batches after one, ordered by ID, with the destinations that they hold; none
    /// at the end.
    pub(super) async fn packed_destinations(
        &self,
        after: i64,
    ) -> Result<Vec<PackedDestinations>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_as!(
                PackedDestinations,
                r#"select id, run_id, destinations as "packed!", moved
                   from batches where key_range is not null and id > $1 order by id limit $2"#,
                after,
                i64::try_from(BATCHES_AT_ONCE).unwrap_or(i64::MAX),
            )
            .fetch_all(&self.pool)
        })
        .await
    }

    /// Does the same for these batches.
    pub(super) async fn packed_destinations_of(
        &self,
        batches: &[i64],
    ) -> Result<Vec<PackedDestinations>, LedgerError> {
        self.with_retry(|| {
            sqlx::query_as!(
                PackedDestinations,
                r#"select id, run_id, destinations as "packed!", moved
                   from batches where key_range is not null and id = any($1)"#,
                batches,
            )
            .fetch_all(&self.pool)
        })
        .await
    }
}

/// The destinations of a batch's packed tokens.
#[derive(Debug)]
pub(super) struct PackedDestinations {
    pub(super) id: i64,
    pub(super) run_id: RunId,
    packed: Vec<u8>,
    moved: Option<Vec<i32>>,
}

impl PackedDestinations {
    pub(super) fn destinations(&self) -> Result<impl Iterator<Item = DestinationId>, LedgerError> {
        let held = destinations_of(self.id, &self.packed, self.moved.as_deref())?;
        Ok(held.map(|(_, destination)| destination))
    }
}
