//! What the ledger need not be asked, since it cannot know it: asking about every row of a first run would cost as much as
//! writing the answers.

use crate::model::{DestinationId, Filter, SourceKey};

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

/// 2 MiB for each of the two. With more rows they deny fewer strangers, which costs lookups and nothing else.
const ENTRIES: usize = 1 << 19;

impl Memory {
    pub(super) fn new(ledger_is_empty: bool) -> Self {
        if ledger_is_empty {
            Self::Own {
                rows: Filter::with_room_for(ENTRIES),
                destinations: Filter::with_room_for(ENTRIES),
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
