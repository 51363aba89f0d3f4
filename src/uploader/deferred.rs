//! Deferred batches: no attempt got through, or their outcome is unknown. They wait for the final pass at the end of the run.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{key_guard::KeyGuardEntry, outcome::Unresolved};
use crate::domain::{Batch, Reason};

/// A batch, or a part of one, that waits.
#[derive(Debug)]
pub(super) enum DeferredBatch {
    /// It was not sent: another batch that waits holds one of its keys.
    Blocked(Batch),
    /// Nothing of it is stored: no attempt got through, for this reason.
    Exhausted(Batch, Reason),
    /// It is in flight in the ledger.
    Unresolved(Unresolved, KeyGuardEntry),
}

impl DeferredBatch {
    fn batch_mut(&mut self) -> &mut Batch {
        match self {
            Self::Blocked(batch) | Self::Exhausted(batch, _) => batch,
            Self::Unresolved(unresolved, _) => &mut unresolved.batch,
        }
    }
}

/// The batches that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct DeferredQueue(Mutex<VecDeque<DeferredBatch>>);

impl DeferredQueue {
    pub(super) fn push(&self, mut deferred: DeferredBatch) {
        // It waits long, and the pages it was made of need not.
        for item in &mut deferred.batch_mut().items {
            item.encoded.detach();
        }
        self.lock().push_back(deferred);
    }

    pub(super) fn pop(&self) -> Option<DeferredBatch> {
        self.lock().pop_front()
    }

    /// The oldest, if more than `most` wait.
    pub(super) fn pop_above(&self, most: usize) -> Option<DeferredBatch> {
        let mut waiting = self.lock();
        if waiting.len() > most {
            waiting.pop_front()
        } else {
            None
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<DeferredBatch>> {
        // A panic elsewhere leaves the list as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
