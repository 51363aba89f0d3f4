//! Numbers of the writes to a run's row: see [`continuity`](super::continuity).

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicI64, Ordering},
};

/// Numbers the writes of one process to a run's row.
#[derive(Debug)]
pub(super) struct Writes {
    /// The number that the process writes when it starts or resumes the run.
    pub(super) first: i64,
    /// The last write that is known to have succeeded.
    confirmed: AtomicI64,
    /// The last write that was begun. It may have timed out and succeed all the same, even later.
    begun: AtomicI64,
}

/// One write. A repetition has the same number, and finds it in the row if the first response was lost.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) number: i64,
    /// The least number that the run's row may have before the write.
    pub(super) after: i64,
}

impl Writes {
    /// Draws the upper half at random; the lower half counts.
    pub(super) fn draw() -> Self {
        let first = i64::from(rand::random::<u32>() >> 1) << u32::BITS;
        Self {
            first,
            confirmed: first.into(),
            begun: first.into(),
        }
    }

    /// Returns the numbers that the run's row may have now.
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
        // A ledger that lost the last write, and one in which another process started.
        assert!(!writes.known().contains(&given_up.number));
        assert!(!writes.known().contains(&Writes::draw().first));
    }
}
