//! The ledger filter: Bloom filters that skip lookups which cannot match. On a first run, looking up every
//! row would cost as much as recording the outcomes.

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

use crate::domain::{DestinationId, LedgerState, RunId, SourceKey};

/// The rows and destinations that the ledger may know. Has no false negatives.
#[derive(Debug)]
pub(super) struct LedgerFilter {
    /// Rows that the source called outdated when this process started.
    outdated: BloomFilter<RandomState>,
    /// Destinations that something was sent to. `None` if the ledger has tokens of earlier processes: then it
    /// may know any.
    destinations: Option<BloomFilter<RandomState>>,
}

/// About 1 MiB each. With more rows, false positives increase, which only costs lookups.
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

    /// Treats all destinations as known: another migration may have sent to any of them.
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

    /// In an empty ledger, only outdated rows are recorded before they are read.
    pub(super) fn may_know_row(&self, key: &SourceKey) -> bool {
        self.destinations.is_none() || self.outdated.contains(key)
    }

    pub(super) fn may_know_destination(&self, id: &DestinationId) -> bool {
        self.destinations
            .as_ref()
            .is_none_or(|destinations| destinations.contains(id))
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
