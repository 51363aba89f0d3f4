//! The run filter: Bloom filters over what this process did itself, to skip comparisons that cannot match.

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

use crate::domain::{DestinationId, LedgerState, RunId, SourceKey};

/// Rows and destinations of this process. Has no false negatives.
#[derive(Debug)]
pub(super) struct RunFilter {
    /// Rows that the source called outdated when this process started.
    outdated: BloomFilter<RandomState>,
    /// Destinations that something was sent to.
    destinations: BloomFilter<RandomState>,
}

/// About 1 MiB each. With more rows, false positives increase, which only costs comparisons.
const ENTRIES: usize = 1 << 19;

fn filter() -> BloomFilter<RandomState> {
    BloomFilter::with_false_pos(1e-4)
        .hasher(RandomState::default())
        .expected_items(ENTRIES)
}

impl RunFilter {
    pub(super) fn new() -> Self {
        Self {
            outdated: filter(),
            destinations: filter(),
        }
    }

    pub(super) fn add_outdated(&mut self, key: &SourceKey) {
        self.outdated.insert(key);
    }

    pub(super) fn add_destination(&mut self, id: &DestinationId) {
        self.destinations.insert(id);
    }

    pub(super) fn may_be_outdated(&self, key: &SourceKey) -> bool {
        self.outdated.contains(key)
    }

    pub(super) fn may_be_sent_to(&self, id: &DestinationId) -> bool {
        self.destinations.contains(id)
    }

    /// Discards what an earlier process of the run found outdated: the newer row may be gone since.
    pub(super) fn distrust(&self, known: &mut LedgerState, run: RunId) {
        for (key, row) in &mut known.rows {
            if row.outdated.is_some_and(|(by, _)| by == run) && !self.outdated.contains(key) {
                row.outdated = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_and_strangers_mostly_are() {
        let key = |number: u32| SourceKey::from(number.to_string());
        let mut memory = RunFilter::new();
        for number in 0..100_000 {
            memory.add_outdated(&key(number));
        }
        assert!((0..100_000).all(|number| memory.may_be_outdated(&key(number))));
        let wrong = (100_000..200_000)
            .filter(|&number| memory.may_be_outdated(&key(number)))
            .count();
        assert!(wrong < 100, "{wrong} of 100,000");
    }
}
