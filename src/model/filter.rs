//! A set that forgets what is in it, and only knows what is not.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A Bloom filter of fixed size. Never denies what was added; of strangers it denies all but a few.
#[derive(Debug)]
pub struct Filter(Vec<u64>);

const BITS_PER_ENTRY: usize = 32;
const PROBES: u64 = 6;

impl Filter {
    /// Up to so many entries, all but one of 40,000 strangers are denied, and fewer beyond.
    #[must_use]
    pub fn with_room_for(entries: usize) -> Self {
        let words = (entries * BITS_PER_ENTRY / 64).next_power_of_two();
        Self(vec![0; words])
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &impl Hash) {
        for (word, bit) in places(self.0.len(), entry) {
            self.0[word] |= bit;
        }
    }

    /// `false` only of what was not added.
    #[must_use]
    pub fn may_hold(&self, entry: &impl Hash) -> bool {
        places(self.0.len(), entry).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// Places by double hashing, among so many words.
fn places(words: usize, entry: &impl Hash) -> impl Iterator<Item = (usize, u64)> {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    let first = hasher.finish();
    0xff_u8.hash(&mut hasher);
    let second = hasher.finish() | 1;
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
