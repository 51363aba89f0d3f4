//! Packed batches of this process that are not filed yet, and their destinations. See `filing`.

use std::collections::{HashSet, VecDeque};

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

use crate::domain::DestinationId;

/// Tokens of a generation. After a restart at most twice as many are left to file.
const GENERATION: usize = 200_000;

/// Approximate number of rows that one statement writes.
const FILED_AT_ONCE: usize = 50_000;

/// Batches that this process packed and has not filed since, in two generations: while the older one is
/// filed, the newer one grows.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Packed {
    older: Generation,
    newer: Generation,
    /// Remembered, and not recorded as committed yet: filing would pass them over.
    under_way: HashSet<i64>,
}

#[derive(Debug)]
struct Generation {
    /// Those that are not filed yet, in their order.
    batches: VecDeque<PackedBatch>,
    /// Tokens of all batches, filed or not, and of those that are filed.
    tokens: usize,
    filed: usize,
    places: BloomFilter<RandomState>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PackedBatch {
    pub(super) id: i64,
    pub(super) token_count: i32,
}

impl PackedBatch {
    pub(super) fn tokens(self) -> usize {
        usize::try_from(self.token_count).unwrap_or_default()
    }
}

impl Packed {
    /// A batch whose tokens go to these places.
    pub(super) fn add(&mut self, batch: i64, places: impl ExactSizeIterator<Item = DestinationId>) {
        let tokens = places.len();
        for place in places {
            self.newer.places.insert(&place);
        }
        self.newer.tokens += tokens;
        self.newer.batches.push_back(PackedBatch {
            id: batch,
            token_count: i32::try_from(tokens).unwrap_or(i32::MAX),
        });
        self.under_way.insert(batch);
    }

    pub(super) fn may_hold(&self, place: &DestinationId) -> bool {
        [&self.older, &self.newer]
            .into_iter()
            .any(|generation| generation.tokens > 0 && generation.places.contains(place))
    }

    /// The recording is over, whatever came of it.
    pub(super) fn recorded(&mut self, batch: i64) {
        self.under_way.remove(&batch);
    }

    /// The batches of the older generation that are to be filed next, as many as one statement takes.
    pub(super) fn next(&self) -> Vec<PackedBatch> {
        let settled = self.older.batches.iter().copied();
        let settled = settled.filter(|batch| !self.under_way.contains(&batch.id));
        first_of(settled).collect()
    }

    pub(super) fn filed(&mut self, batches: &[PackedBatch]) {
        let ids: HashSet<i64> = batches.iter().map(|batch| batch.id).collect();
        self.older.batches.retain(|batch| !ids.contains(&batch.id));
        self.older.filed += batches.iter().map(|batch| batch.tokens()).sum::<usize>();
    }

    /// The next generation begins once the older one is filed to its last batch: what is forgotten must be
    /// found by its rows.
    pub(super) fn rotate(&mut self) {
        if self.older.batches.is_empty() {
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
    }

    pub(super) fn is_ripe(&self) -> bool {
        self.newer.tokens >= GENERATION && self.older.batches.is_empty()
    }

    /// Returns whether filing the older generation is so far behind that a task would have to wait for it
    /// once the newer one is full.
    pub(super) fn lags(&self) -> bool {
        let due = match self.newer.tokens {
            GENERATION.. => self.older.tokens,
            newer => (self.older.tokens * newer / GENERATION).saturating_sub(FILED_AT_ONCE),
        };
        self.older.filed < due && !self.next().is_empty()
    }

    pub(super) fn all(&self) -> Vec<PackedBatch> {
        self.older
            .batches
            .iter()
            .chain(&self.newer.batches)
            .copied()
            .collect()
    }
}

/// As many as one statement takes.
pub(super) fn first_of(batches: impl Iterator<Item = PackedBatch>) -> impl Iterator<Item = PackedBatch> {
    let mut tokens = 0;
    batches.take_while(move |batch| {
        let fits = tokens < FILED_AT_ONCE;
        tokens += batch.tokens();
        fits
    })
}

impl Generation {
    fn clear(&mut self) {
        self.batches.clear();
        (self.tokens, self.filed) = (0, 0);
        self.places.clear();
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            tokens: 0,
            filed: 0,
            places: BloomFilter::with_false_pos(1e-4)
                .hasher(RandomState::default())
                .expected_items(GENERATION),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: u32 = 10_000;

    fn places(batch: i64) -> impl ExactSizeIterator<Item = DestinationId> {
        (0..TOKENS).map(move |number| {
            let bytes = (u128::from(number) << 64 | u128::from(batch.unsigned_abs())).to_le_bytes();
            DestinationId::from_slice(&bytes).unwrap()
        })
    }

    /// As a process does that packs as fast as it can.
    fn pack(packed: &mut Packed, batch: i64) -> usize {
        let mut statements = 0;
        while packed.is_ripe() || packed.lags() {
            if packed.is_ripe() {
                packed.rotate();
            } else {
                let next = packed.next();
                packed.filed(&next);
                statements += 1;
            }
        }
        packed.add(batch, places(batch));
        statements
    }

    #[test]
    fn filing_keeps_step_with_packing() {
        let mut packed = Packed::default();
        for batch in 0..150 {
            let statements = pack(&mut packed, batch);
            packed.recorded(batch);
            assert!(statements <= 1, "nobody waits long: {statements}");
            let held: usize = packed.all().into_iter().map(PackedBatch::tokens).sum();
            assert!(held <= 2 * GENERATION + FILED_AT_ONCE, "{held}");
            let held: HashSet<i64> = packed.all().into_iter().map(|batch| batch.id).collect();
            assert!(
                held.iter()
                    .all(|&batch| places(batch).all(|place| packed.may_hold(&place)))
            );
        }
    }

    #[test]
    fn what_is_under_way_is_neither_filed_nor_forgotten() {
        let mut packed = Packed::default();
        packed.add(0, places(0));
        packed.rotate();
        for batch in 1..50 {
            pack(&mut packed, batch);
            packed.recorded(batch);
            assert!(packed.next().iter().all(|next| next.id != 0));
            assert!(places(0).take(20).all(|place| packed.may_hold(&place)), "{batch}");
        }
        packed.recorded(0);
        assert!(packed.next().iter().any(|next| next.id == 0));
    }
}
