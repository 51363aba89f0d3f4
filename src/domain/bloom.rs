//! A set that forgets what is in it, and only knows what is not.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

/// A Bloom filter of fixed size. Never denies what was added; of strangers it denies all but a few. All bits of an entry stand in
/// one line of the processor's cache: spread over all of the filter, each would be a wait for memory.
#[derive(Debug)]
pub struct BloomFilter {
    lines: Vec<Line>,
    hashes: RandomState,
}

/// A line of the cache: 512 bits.
type Line = [u64; 8];

const BITS_PER_ENTRY: usize = 32;
const PROBES: u32 = 6;

impl BloomFilter {
    /// Up to so many entries, all but one of several thousand strangers are denied, and fewer beyond.
    #[must_use]
    pub fn with_room_for(entries: usize) -> Self {
        let lines = (entries * BITS_PER_ENTRY).div_ceil(8 * size_of::<Line>());
        Self {
            lines: vec![Line::default(); lines.next_power_of_two()],
            hashes: RandomState::default(),
        }
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.lines.fill(Line::default());
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &impl Hash) {
        let (line, bits) = self.places(entry);
        for (word, bit) in bits {
            self.lines[line][word] |= bit;
        }
    }

    /// `false` only of what was not added.
    #[must_use]
    pub fn may_hold(&self, entry: &impl Hash) -> bool {
        let (line, mut bits) = self.places(entry);
        bits.all(|(word, bit)| self.lines[line][word] & bit != 0)
    }

    /// The line of an entry, and its bits there: the upper bits of the hash choose the line, and nine for each bit come from the
    /// hash stirred once more.
    fn places<E: Hash>(&self, entry: &E) -> (usize, impl Iterator<Item = (usize, u64)> + use<E>) {
        let hash = self.hashes.hash_one(entry);
        let line = usize::try_from(hash >> 32).unwrap_or(0) & (self.lines.len() - 1);
        let stirred = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (0..PROBES).map(move |probe| {
            let place = stirred >> (10 + 9 * probe);
            (usize::try_from(place >> 6 & 7).unwrap_or(0), 1 << (place & 63))
        });
        (line, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_and_strangers_mostly_are() {
        let mut filter = BloomFilter::with_room_for(100_000);
        for number in 0..100_000 {
            filter.add(&number);
        }
        assert!((0..100_000).all(|number| filter.may_hold(&number)));
        let wrong = (100_000..200_000)
            .filter(|number| filter.may_hold(number))
            .count();
        assert!(wrong < 50, "{wrong} of 100,000");
    }
}
