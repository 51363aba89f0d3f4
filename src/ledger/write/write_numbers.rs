//! Write numbers: each write to a run's row by a process has one.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicI64, Ordering},
};

/// Numbers the writings of a run's books by one process.
#[derive(Debug)]
pub(super) struct Writes {
    /// What the process writes when it begins the run or takes it up.
    pub(super) first: i64,
    /// The last one that is known to have landed.
    confirmed: AtomicI64,
    /// The last one that was begun. It may have been given up, and landed all the same, or do so later.
    begun: AtomicI64,
}

/// One writing. Repeated, it has the same number, and finds it there if its answer was lost.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) number: i64,
    /// The least number that the run's row may have before.
    pub(super) after: i64,
}

impl Writes {
    /// The upper half is drawn, the lower one counts.
    pub(super) fn draw() -> Self {
        let first = i64::from(rand::random::<u32>() >> 1) << u32::BITS;
        Self {
            first,
            confirmed: first.into(),
            begun: first.into(),
        }
    }

    /// The numbers that the run's row may have now.
    pub(super) fn known(&self) -> RangeInclusive<i64> {
        self.confirmed.load(Ordering::Acquire)..=self.first | i64::from(u32::MAX)
    }

    pub(super) fn begin(&self) -> Write {
        Write {
            after: *self.known().start(),
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
        }
    }

    pub(super) fn confirm(&self, write: &Write) {
        self.confirmed.fetch_max(write.number, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writing_that_was_given_up_may_have_landed_and_never_lands_over_a_later_one() {
        let writes = Writes::draw();
        let first = writes.begin();
        assert_eq!((first.after, first.number), (writes.first, writes.first + 1));
        writes.confirm(&first);
        let given_up = writes.begin();
        let next = writes.begin();
        assert!((next.after..=next.number).contains(&given_up.number));
        assert!(!(given_up.after..=given_up.number).contains(&next.number));
        writes.confirm(&next);
        // A ledger that has lost the last of them, and one in which another process has begun.
        assert!(!writes.known().contains(&given_up.number));
        assert!(!writes.known().contains(&Writes::draw().first));
    }
}
