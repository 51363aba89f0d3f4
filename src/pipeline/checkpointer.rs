//! The checkpointer: counts of a running run, settled pages, and the cursor.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fail::fail_point;
use tokio::sync::Notify;

use super::failure_counts::Failed;
use crate::{
    domain::{CleanRanges, KeyRange, RowsDigest, SourceKey, Tally},
    metrics::Meter,
    uploader::{TokenOutcome, TokensFinished},
};

/// Shared by the stages. The cursor moves past a page once all rows of it, and of all earlier pages, have
/// outcomes.
#[derive(Debug)]
pub(super) struct Checkpointer {
    inner: Mutex<Inner>,
    moved: Notify,
    pub(super) failed: Failed,
    meter: Meter,
}

#[derive(Debug)]
struct Inner {
    /// In ascending order; the first one is not settled yet.
    open: VecDeque<OpenPage>,
    /// The counts of all earlier pages.
    closed: Tally,
    cursor: Option<SourceKey>,
    next_page: u64,
    /// The ranges of which every row is stored, as it was read.
    clean: CleanRanges,
    /// Rows whose tokens were replaced by those of other rows; they may be in clean ranges.
    replaced: Vec<SourceKey>,
}

#[derive(Debug)]
struct OpenPage {
    number: u64,
    last: SourceKey,
    digest: Option<RowsDigest>,
    tally: Tally,
}

/// With more replaced rows, no range counts as clean.
const MOST_REPLACED: usize = 10_000;

/// The most rows of a clean range: one change makes the whole range be read, and each range costs a query.
fn max_range_rows() -> i64 {
    fail_point!("range_rows", |rows| {
        rows.and_then(|rows| rows.parse().ok()).unwrap_or_default()
    });
    500
}

/// The state of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// The counts up to the cursor.
    pub(super) closed: Tally,
    /// The counts including pages in progress.
    pub(super) live: Tally,
    /// The key up to which everything is settled.
    pub(super) cursor: Option<SourceKey>,
}

impl Checkpointer {
    pub(super) fn new(cursor: Option<SourceKey>, tally: Tally, meter: Meter) -> Self {
        let inner = Inner {
            open: VecDeque::new(),
            closed: tally,
            cursor,
            next_page: 0,
            clean: CleanRanges::default(),
            replaced: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
            moved: Notify::new(),
            failed: Failed::default(),
            meter,
        }
    }

    /// Adds a page with this number of rows, up to this key.
    pub(super) fn open(&self, number: u64, last: SourceKey, digest: Option<RowsDigest>, selected: i64) {
        self.meter.read(selected);
        self.push(number, last, digest, selected);
    }

    /// Adds a page that was not read, since its rows are unchanged.
    pub(super) fn skip(&self, number: u64, last: SourceKey, digest: Option<RowsDigest>, unchanged: i64) {
        self.push(number, last, digest, unchanged);
        let settled = Tally {
            unchanged,
            ..Tally::default()
        };
        self.settle(number, settled);
    }

    fn push(&self, number: u64, last: SourceKey, digest: Option<RowsDigest>, selected: i64) {
        let tally = Tally {
            selected,
            ..Tally::default()
        };
        self.lock().open.push_back(OpenPage {
            number,
            last,
            digest,
            tally,
        });
    }

    /// Adds outcomes of rows of a page.
    pub(super) fn settle(&self, page: u64, ended: Tally) {
        self.meter.ended(&ended);
        let mut inner = self.lock();
        if let Some(open) = inner.open.iter_mut().find(|open| open.number == page) {
            open.tally += ended;
        }
        let mut moved = false;
        while let Some(page) = inner.open.pop_front_if(|page| page.tally.is_balanced()) {
            inner.closed += page.tally;
            let after = inner.cursor.replace(page.last.clone());
            // The digest is of the rows that were read, so of all that have an outcome here.
            let is_stored = page.tally.committed + page.tally.unchanged == page.tally.selected;
            if let Some(digest) = page
                .digest
                .filter(|digest| is_stored && digest.rows == page.tally.selected)
            {
                let range = KeyRange {
                    after,
                    until: page.last,
                    digest,
                };
                inner.clean.push(range, max_range_rows());
            }
            inner.next_page = page.number + 1;
            moved = true;
        }
        if moved {
            self.moved.notify_one();
        }
    }

    /// Adds outcomes reported by the uploader.
    pub(super) fn sent(&self, settled: &TokensFinished) {
        fail_point!("miscount", |_| ());
        let mut ended = Tally::default();
        match &settled.end {
            TokenOutcome::Committed => ended.committed = settled.count,
            TokenOutcome::Failed(reason) => {
                ended.failed = settled.count;
                self.failed.add(&reason.code, &reason.text, settled.count);
            }
        }
        self.settle(settled.page, ended);
    }

    /// Returns the number of the first page that is not settled.
    pub(super) fn settled_below(&self) -> u64 {
        self.lock().next_page
    }

    /// Adds rows whose tokens are about to be replaced by those of other rows.
    pub(super) fn replace(&self, keys: impl Iterator<Item = SourceKey>) {
        let replaced = &mut self.lock().replaced;
        let room = MOST_REPLACED.saturating_sub(replaced.len());
        replaced.extend(keys.take(room));
    }

    /// Returns the ranges of which every row was stored when it was read, and the rows that were replaced
    /// since; forgets both. `None` if there are too many such rows.
    pub(super) fn take_clean(&self) -> Option<(Vec<KeyRange<RowsDigest>>, Vec<SourceKey>)> {
        let mut inner = self.lock();
        let (clean, replaced) = (
            std::mem::take(&mut inner.clean),
            std::mem::take(&mut inner.replaced),
        );
        (replaced.len() < MOST_REPLACED).then(|| (clean.into_vec(), replaced))
    }

    /// Waits until the cursor has moved since the last call.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut live = inner.closed;
        for page in &inner.open {
            live += page.tally;
        }
        Snapshot {
            closed: inner.closed,
            live,
            cursor: inner.cursor.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock still guards consistent data: changes under it complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(count: i64) -> Tally {
        Tally {
            committed: count,
            ..Tally::default()
        }
    }

    #[test]
    fn the_cursor_waits_for_the_slowest_page() {
        let checkpointer = Checkpointer::new(None, Tally::default(), Meter::default());
        checkpointer.open(0, SourceKey::from("10"), None, 10);
        checkpointer.open(1, SourceKey::from("20"), None, 10);
        checkpointer.settle(1, committed(10));
        assert_eq!(checkpointer.snapshot().cursor, None);
        assert_eq!(checkpointer.snapshot().live.committed, 10);
        checkpointer.settle(0, committed(9));
        assert_eq!(checkpointer.snapshot().cursor, None);
        checkpointer.settle(
            0,
            Tally {
                failed: 1,
                ..Tally::default()
            },
        );
        let snapshot = checkpointer.snapshot();
        assert_eq!(snapshot.cursor, Some(SourceKey::from("20")));
        assert_eq!(
            (
                snapshot.closed.committed,
                snapshot.closed.failed,
                snapshot.closed.selected
            ),
            (19, 1, 20)
        );
        assert!(snapshot.closed.is_balanced());
        assert_eq!(checkpointer.settled_below(), 2);
    }

    #[test]
    fn a_resumed_run_goes_on_with_its_books() {
        let checkpointer = Checkpointer::new(
            Some(SourceKey::from("5")),
            Tally {
                selected: 5,
                committed: 5,
                ..Tally::default()
            },
            Meter::default(),
        );
        checkpointer.open(0, SourceKey::from("6"), None, 1);
        checkpointer.settle(0, committed(1));
        assert_eq!(checkpointer.snapshot().closed.committed, 6);
    }
}
