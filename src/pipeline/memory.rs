//! What the ledger need not be asked, since it cannot know it: asking about every row of a first run would cost as much as
//! writing the answers.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::{DestinationId, SourceKey};

/// Rows and destinations that the ledger may know of. Never says "no" of one that it knows.
#[derive(Debug)]
pub(super) enum Memory {
    /// The ledger holds tokens of earlier processes: it may know of anything.
    Anything,
    /// The ledger was empty when this process began: it knows what this process wrote.
    Own {
        /// Rows that were recorded before they were read: the outdated ones.
        rows: Filter,
        /// Destinations that something went to.
        destinations: Filter,
    },
}

impl Memory {
    pub(super) fn new(ledger_is_empty: bool) -> Self {
        if ledger_is_empty {
            Self::Own {
                rows: Filter::new(),
                destinations: Filter::new(),
            }
        } else {
            Self::Anything
        }
    }

    pub(super) fn add_row(&mut self, key: &SourceKey) {
        if let Self::Own { rows, .. } = self {
            rows.add(key);
        }
    }

    pub(super) fn add_destination(&mut self, id: &DestinationId) {
        if let Self::Own { destinations, .. } = self {
            destinations.add(id);
        }
    }

    pub(super) fn may_know_row(&self, key: &SourceKey) -> bool {
        match self {
            Self::Anything => true,
            Self::Own { rows, .. } => rows.may_hold(key),
        }
    }

    pub(super) fn may_know_destination(&self, id: &DestinationId) -> bool {
        match self {
            Self::Anything => true,
            Self::Own { destinations, .. } => destinations.may_hold(id),
        }
    }
}

/// A Bloom filter of fixed size: 2 MiB say "no" to all but a thousandth of the strangers up to about a million entries,
/// and to fewer beyond, which costs lookups and nothing else.
#[derive(Debug)]
pub(super) struct Filter(Vec<u64>);

const WORDS: usize = 1 << 18;
const PROBES: u64 = 6;

impl Filter {
    fn new() -> Self {
        Self(vec![0; WORDS])
    }

    fn add(&mut self, entry: &impl Hash) {
        for (word, bit) in places(entry) {
            self.0[word] |= bit;
        }
    }

    fn may_hold(&self, entry: &impl Hash) -> bool {
        places(entry).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// Places by double hashing.
fn places(entry: &impl Hash) -> impl Iterator<Item = (usize, u64)> {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    let first = hasher.finish();
    0xff_u8.hash(&mut hasher);
    let second = hasher.finish() | 1;
    (0..PROBES).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(second));
        // The upper bits choose the word, the lower ones the bit.
        (
            usize::try_from(place >> 46).unwrap_or(0) % WORDS,
            1 << (place & 63),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_and_strangers_mostly_are() {
        let key = |number: u32| SourceKey::from(number.to_string());
        let mut memory = Memory::new(true);
        for number in 0..100_000 {
            memory.add_row(&key(number));
        }
        assert!((0..100_000).all(|number| memory.may_know_row(&key(number))));
        let wrong = (100_000..200_000)
            .filter(|&number| memory.may_know_row(&key(number)))
            .count();
        assert!(wrong < 100, "{wrong} of 100,000");
    }

    #[test]
    fn a_ledger_that_is_not_empty_may_know_anything() {
        assert!(Memory::new(false).may_know_row(&SourceKey::from("1")));
    }
}
