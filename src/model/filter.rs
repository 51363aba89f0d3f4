//! A set that forgets what is in it, and only knows what is not.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

/// A Bloom filter of fixed size. Never denies what was added; of strangers it denies all but a few.
#[derive(Debug)]
pub struct Filter {
    words: Vec<u64>,
    hashes: RandomState,
}

const BITS_PER_ENTRY: usize = 32;
const PROBES: u64 = 6;

impl Filter {
    /// Up to so many entries, all but one of 40,000 strangers are denied, and fewer beyond.
    #[must_use]
    pub fn with_room_for(entries: usize) -> Self {
        let words = (entries * BITS_PER_ENTRY / 64).next_power_of_two();
        Self {
            words: vec![0; words],
            hashes: RandomState::default(),
        }
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &impl Hash) {
        for (word, bit) in places(self.words.len(), self.hashes.hash_one(entry)) {
            self.words[word] |= bit;
        }
    }

    /// `false` only of what was not added.
    #[must_use]
    pub fn may_hold(&self, entry: &impl Hash) -> bool {
        places(self.words.len(), self.hashes.hash_one(entry)).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

/// Places by double hashing, among so many words; the second hash is made of the first, which has bits enough for both.
fn places(words: usize, first: u64) -> impl Iterator<Item = (usize, u64)> {
    let second = first.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) | 1;
    (0..PROBES).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(second));
        // The upper bits choose the word, the lower ones the bit.
        let word = usize::try_from(place >> 32).unwrap_or(0) & (words - 1);
        (word, 1 << (place & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_and_strangers_mostly_are() {
        let mut filter = Filter::with_room_for(100_000);
        for number in 0..100_000 {
            filter.add(&number);
        }
        assert!((0..100_000).all(|number| filter.may_hold(&number)));
        let wrong = (100_000..200_000)
            .filter(|number| filter.may_hold(number))
            .count();
        assert!(wrong < 20, "{wrong} of 100,000");
    }
}
