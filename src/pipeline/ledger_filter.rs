//! A Bloom pre-check that skips lookups in the ledger which cannot match: asking about every row of a first run would cost as
//! much as writing the answers.

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

use crate::domain::{DestinationId, LedgerState, RunId, SourceKey};

/// Rows and destinations that the ledger may know of. Never says "no" of one that it knows.
#[derive(Debug)]
pub(super) struct LedgerFilter {
    /// Rows that the source called outdated when this process began.
    outdated: BloomFilter<RandomState>,
    /// Destinations that something went to. `None` where the ledger holds tokens of earlier processes: it may know of anything.
    destinations: Option<BloomFilter<RandomState>>,
}

/// About 1 MiB for each of the two. With more rows they let more strangers pass, which costs lookups and nothing else.
const ENTRIES: usize = 1 << 19;

fn filter() -> BloomFilter<RandomState> {
    BloomFilter::with_false_pos(1e-4)
        .hasher(RandomState::default())
        .expected_items(ENTRIES)
}

impl LedgerFilter {
    pub(super) fn new(ledger_is_empty: bool) -> Self {
        Self {
            outdated: filter(),
            destinations: ledger_is_empty.then(filter),
        }
    }

    /// Somebody else has put tokens somewhere, too.
    pub(super) fn forget_destinations(&mut self) {
        self.destinations = None;
    }

    pub(super) fn add_outdated(&mut self, key: &SourceKey) {
        self.outdated.insert(key);
    }

    pub(super) fn add_destination(&mut self, id: &DestinationId) {
        if let Some(destinations) = &mut self.destinations {
            destinations.insert(id);
        }
    }

    /// In an empty ledger, only the outdated rows are recorded before they are read.
    pub(super) fn may_know_row(&self, key: &SourceKey) -> bool {
        self.destinations.is_none() || self.outdated.contains(key)
    }

    pub(super) fn may_know_destination(&self, id: &DestinationId) -> bool {
        self.destinations
            .as_ref()
            .is_none_or(|destinations| destinations.contains(id))
    }

    /// Forgets what an earlier process of the run found outdated: the newer row may be gone since.
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
        let mut memory = LedgerFilter::new(true);
        for number in 0..100_000 {
            memory.add_outdated(&key(number));
        }
        assert!((0..100_000).all(|number| memory.may_know_row(&key(number))));
        let wrong = (100_000..200_000)
            .filter(|&number| memory.may_know_row(&key(number)))
            .count();
        assert!(wrong < 100, "{wrong} of 100,000");
    }

    #[test]
    fn a_ledger_that_is_not_empty_may_know_anything() {
        assert!(LedgerFilter::new(false).may_know_row(&SourceKey::from("1")));
    }
}
