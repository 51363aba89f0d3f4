//! Token filters: which lookups of a run can find nothing. Without them, each row that is read would be
//! looked for among all packed tokens.
//!
//! They are loaded before the first lookup, and told of everything that this process records from then on,
//! before it is recorded. Of what other processes record, packed batches are added page by page, and rows are
//! looked up without a filter as long as such a process is at work. A filter that was not loaded rules out
//! nothing.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;

use super::{
    Ledger, LedgerError, Run,
    growing_filter::GrowingFilter,
    packed::{BATCHES_AT_ONCE, PackedDestinations},
};
use crate::domain::{DestinationId, Item};

/// Rows that are loaded at once.
const ROWS_AT_ONCE: i64 = 10_000;

/// The filters of this process, once they are loaded.
#[derive(Debug, Default)]
pub(in crate::ledger) struct TokenFilters(Mutex<Option<Loaded>>);

#[derive(Debug)]
struct Loaded {
    /// The time before which everything was loaded, by the database's clock.
    since: DateTime<Utc>,
    /// Destinations of packed tokens of all migrations.
    packed: GrowingFilter,
    /// Those of them that may belong to several packed tokens.
    shared: HashSet<DestinationId, RandomState>,
    /// Keys of this migration's rows in `token_rows`.
    row_keys: GrowingFilter,
    /// Destinations of `token_rows` and `former_places`.
    row_destinations: GrowingFilter,
    /// Packed batches of other runs that `packed` knows.
    batches_of_others: HashSet<i64, RandomState>,
    /// Other runs may write rows.
    others_are_active: bool,
}

/// The destinations that have to be searched for.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// Among all packed tokens.
    pub(super) packed: Vec<DestinationId>,
    /// In `token_rows` and `former_places`.
    pub(super) rows: Vec<DestinationId>,
}

impl Loaded {
    fn new(since: DateTime<Utc>) -> Self {
        Self {
            since,
            packed: GrowingFilter::default(),
            shared: HashSet::default(),
            row_keys: GrowingFilter::default(),
            row_destinations: GrowingFilter::default(),
            batches_of_others: HashSet::default(),
            others_are_active: false,
        }
    }

    fn add_batches(&mut self, batches: &[PackedDestinations], run: &Run) -> Result<(), LedgerError> {
        for batch in batches {
            if batch.run_id == run.id || self.batches_of_others.insert(batch.id) {
                self.add_packed(batch.destinations()?);
            }
        }
        Ok(())
    }

    fn add_packed(&mut self, destinations: impl Iterator<Item = DestinationId>) {
        for destination in destinations {
            if self.packed.add(&destination) {
                self.shared.insert(destination);
            }
        }
    }
}

impl TokenFilters {
    fn lock(&self) -> MutexGuard<'_, Option<Loaded>> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether all of these are known to have no row in `token_rows`.
    pub(super) fn are_without_rows(&self, items: &[Item]) -> bool {
        self.lock().as_ref().is_some_and(|loaded| {
            items
                .iter()
                .all(|item| !loaded.row_keys.may_hold(item.key.as_str()))
        })
    }

    /// Keeps the keys that may have a row in `token_rows`.
    pub(super) fn retain_with_rows(&self, keys: &mut Vec<&str>) {
        if let Some(loaded) = self.lock().as_ref().filter(|loaded| !loaded.others_are_active) {
            keys.retain(|&key| loaded.row_keys.may_hold(key));
        }
    }

    /// Returns where tokens at `asked` have to be searched for. Packed tokens at `held` were found already,
    /// by their keys.
    pub(super) fn searches(
        &self,
        asked: &HashSet<DestinationId, RandomState>,
        held: &HashSet<DestinationId, RandomState>,
    ) -> Searches {
        let guard = self.lock();
        let Some(loaded) = guard.as_ref() else {
            let all: Vec<_> = asked.iter().copied().collect();
            return Searches {
                packed: all.clone(),
                rows: all,
            };
        };
        let mut searches = Searches::default();
        for &destination in asked {
            let is_packed = if held.contains(&destination) {
                loaded.shared.contains(&destination)
            } else {
                loaded.packed.may_hold(&destination)
            };
            if is_packed {
                searches.packed.push(destination);
            }
            // A packed token may become a row while it is searched for.
            if is_packed || loaded.others_are_active || loaded.row_destinations.may_hold(&destination) {
                searches.rows.push(destination);
            }
        }
        searches
    }

    /// Adds tokens that are about to be packed.
    pub(super) fn add_packed(&self, destinations: impl Iterator<Item = DestinationId>) {
        if let Some(loaded) = self.lock().as_mut() {
            loaded.add_packed(destinations);
        }
    }

    /// Adds keys that are about to get rows.
    pub(super) fn add_row_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        if let Some(loaded) = self.lock().as_mut() {
            for key in keys {
                loaded.row_keys.add(key);
            }
        }
    }

    /// Adds destinations that rows or former places are about to have.
    pub(super) fn add_row_destinations(&self, destinations: impl Iterator<Item = DestinationId>) {
        if let Some(loaded) = self.lock().as_mut() {
            loaded.row_destinations.extend(destinations);
        }
    }
}

impl Ledger {
    /// Loads the filters, or, if they are loaded, adds what other runs recorded since: another migration of
    /// the same ledger, and beside a dry run the migration itself. What earlier processes of the run left in
    /// flight must be settled.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn refresh_filters(&self, run: &Run) -> Result<(), LedgerError> {
        let since = self.token_filters.lock().as_ref().map(|loaded| loaded.since);
        match since {
            // What was packed while they were loaded may have been passed.
            None => {
                let since = self.load_filters(run).await?;
                self.add_others(run, since).await
            }
            Some(since) => self.add_others(run, since).await,
        }
    }

    async fn load_filters(&self, run: &Run) -> Result<DateTime<Utc>, LedgerError> {
        let since = self
            .with_retry(|| sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&self.pool))
            .await?;
        let mut loaded = Loaded::new(since);
        let mut after = 0;
        loop {
            let batches = self.packed_destinations(after).await?;
            let Some(last) = batches.last() else { break };
            after = last.id;
            loaded.add_batches(&batches, run)?;
        }
        // Last: a token that becomes a row meanwhile is found there.
        self.load_rows(&mut loaded).await?;
        self.load_former_places(&mut loaded).await?;
        *self.token_filters.lock() = Some(loaded);
        Ok(since)
    }

    async fn load_rows(&self, loaded: &mut Loaded) -> Result<(), LedgerError> {
        let mut after = (String::new(), String::new());
        loop {
            let rows = self
                .with_retry(|| {
                    sqlx::query!(
                        "select source_key, migration, case when state = 'committed' then destination end as destination
                         from token_rows where (source_key, migration) > ($1, $2)
                         order by source_key, migration limit $3",
                        after.0,
                        after.1,
                        ROWS_AT_ONCE,
                    )
                    .fetch_all(&self.pool)
                })
                .await?;
            for row in &rows {
                if row.migration == self.migration {
                    loaded.row_keys.add(row.source_key.as_str());
                }
                let destination = row.destination.as_deref().and_then(DestinationId::from_slice);
                loaded.row_destinations.extend(destination);
            }
            let Some(last) = rows.into_iter().next_back() else {
                return Ok(());
            };
            after = (last.source_key, last.migration);
        }
    }

    async fn load_former_places(&self, loaded: &mut Loaded) -> Result<(), LedgerError> {
        let mut after = Vec::new();
        loop {
            let places = self
                .with_retry(|| {
                    sqlx::query_scalar!(
                        "select distinct destination from former_places where destination > $1
                         order by destination limit $2",
                        after,
                        ROWS_AT_ONCE,
                    )
                    .fetch_all(&self.pool)
                })
                .await?;
            let destinations = places.iter().filter_map(|place| DestinationId::from_slice(place));
            loaded.row_destinations.extend(destinations);
            let Some(last) = places.into_iter().next_back() else {
                return Ok(());
            };
            after = last;
        }
    }

    async fn add_others(&self, run: &Run, since: DateTime<Utc>) -> Result<(), LedgerError> {
        let packed = self
            .with_retry(|| {
                sqlx::query!(
                    // Progress is written every few seconds.
                    r#"select runs.id, array(select id from batches where run_id = runs.id and key_range is not null) as "batches!"
                       from runs where mode = 'migrate' and id <> $1 and progressed_at > $2::timestamptz - interval '1 minute'
                         and (status = 'running' or finished_at > $2)"#,
                    run.id,
                    since,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        if packed.is_empty() {
            return Ok(());
        }
        let mut others: Vec<i64> = packed.into_iter().flat_map(|run| run.batches).collect();
        if let Some(loaded) = self.token_filters.lock().as_mut() {
            loaded.others_are_active = true;
            others.retain(|batch| !loaded.batches_of_others.contains(batch));
        }
        for some in others.chunks(BATCHES_AT_ONCE) {
            let batches = self.packed_destinations_of(some).await?;
            if let Some(loaded) = self.token_filters.lock().as_mut() {
                loaded.add_batches(&batches, run)?;
            }
        }
        Ok(())
    }
}
