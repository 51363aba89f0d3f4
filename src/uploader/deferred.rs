//! Deferred batches: all attempts failed, the outcome is unknown, or another deferred batch holds a key. They
//! wait for the final pass at the end of the run.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{key_guard::KeyGuardEntry, outcome::Unresolved};
use crate::domain::{Batch, Reason};

/// A batch, or a part of one, that waits for the final pass.
#[derive(Debug)]
pub(super) enum DeferredBatch {
    /// It was not sent, because another deferred batch holds one of its keys.
    Blocked(Batch),
    /// All attempts failed, the last one for this reason.
    Exhausted(Batch, Reason),
    /// Its outcome is unknown, and it is in flight in the ledger.
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

/// The queue of deferred batches, oldest first.
#[derive(Debug, Default)]
pub(super) struct DeferredQueue(Mutex<VecDeque<DeferredBatch>>);

impl DeferredQueue {
    pub(super) fn push(&self, mut deferred: DeferredBatch) {
        // A deferred batch may wait long. Detaching its tokens frees the pages that they were encoded in.
        for item in &mut deferred.batch_mut().items {
            item.encoded.detach();
        }
        self.lock().push_back(deferred);
    }

    pub(super) fn pop(&self) -> Option<DeferredBatch> {
        self.lock().pop_front()
    }

    /// Removes and returns the oldest batch if more than `most` wait.
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
        // A panic of another task cannot leave the queue half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
