//! A growing filter: a Bloom filter for any number of entries. `may_hold` is false only for entries that were
//! never added.

use std::hash::{BuildHasher, Hash};

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

/// Of so many entries that were never added, one looks as if it had been. It costs a search of all packed
/// tokens.
const FALSE_POSITIVES: f64 = 1e-6;

/// Entries of the first layer.
const FIRST_LAYER: usize = 1 << 17;

/// Layers of Bloom filters: a further one is added when the last is full.
#[derive(Debug, Default)]
pub(super) struct GrowingFilter {
    hasher: RandomState,
    layers: Vec<BloomFilter<RandomState>>,
    /// Entries for which the last layer has room.
    room: usize,
    entries: usize,
}

impl GrowingFilter {
    /// Adds an entry. Returns whether it may have been added before.
    pub(super) fn add(&mut self, entry: &(impl Hash + ?Sized)) -> bool {
        let hash = self.hasher.hash_one(entry);
        if self.holds(hash) {
            return true;
        }
        if self.room == 0 {
            // At most a third of the memory is unused.
            self.room = FIRST_LAYER.max(self.entries / 2);
            let layer = BloomFilter::with_false_pos(FALSE_POSITIVES)
                .hasher(RandomState::default())
                .expected_items(self.room);
            self.layers.push(layer);
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.insert_hash(hash);
        }
        self.room -= 1;
        self.entries += 1;
        false
    }

    pub(super) fn may_hold(&self, entry: &(impl Hash + ?Sized)) -> bool {
        !self.layers.is_empty() && self.holds(self.hasher.hash_one(entry))
    }

    pub(super) fn extend<T: Hash>(&mut self, entries: impl IntoIterator<Item = T>) {
        for entry in entries {
            self.add(&entry);
        }
    }

    fn holds(&self, hash: u64) -> bool {
        self.layers.iter().any(|layer| layer.contains_hash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_however_much_it_is_and_strangers_nearly_always_are() {
        let mut filter = GrowingFilter::default();
        assert!(!filter.may_hold(&0));
        let entries = 3 * FIRST_LAYER;
        let seen_before = (0..entries).filter(|entry| filter.add(entry)).count();
        assert!(seen_before < 10, "{seen_before}");
        assert!(filter.layers.len() > 2);
        assert!((0..entries).all(|entry| filter.may_hold(&entry) && filter.add(&entry)));
        let wrong = (entries..2 * entries)
            .filter(|entry| filter.may_hold(entry))
            .count();
        assert!(wrong < 10, "{wrong}");
    }
}
