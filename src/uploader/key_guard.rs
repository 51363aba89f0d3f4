//! Key guard: keeps tokens from being in flight together that a read-back could confuse.
//!
//! `token/latest` selects by tenant and external identifier only if they are given: a request for a plain
//! token of a user may return a newer one that the same user has in a tenant. As long as only one of two such
//! tokens is in flight, a plain token that was stored is the latest, and is returned.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, futures::Notified};

use crate::domain::{Batch, Identity, Item};

/// The keys of the batches whose outcome is not known yet.
#[derive(Debug, Default)]
pub(super) struct KeyGuard {
    open: Mutex<Vec<Open>>,
    released: Notify,
}

#[derive(Debug)]
struct Open {
    serial: u64,
    state: HeldKeys,
    /// Sorted by identity.
    keys: Box<[Key]>,
}

/// The fields by which a read-back selects a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identity: Identity,
    /// A hash is enough: a collision only costs a wait.
    tenant: Option<u64>,
    external_identifier: Option<u64>,
}

/// The state of the batch that keeps another one from being sent: a token of one could be mistaken for a
/// token of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HeldKeys {
    /// It is in flight.
    InFlight,
    /// It is deferred; its outcome is read back in the final pass.
    Deferred,
    /// Its outcome stays unknown in this run.
    Unresolved,
}

/// The claim of one batch on its keys while its outcome is unknown. They are released when it is dropped.
#[derive(Debug)]
pub(super) struct KeyGuardEntry {
    key_guard: Arc<KeyGuard>,
    serial: u64,
}

impl KeyGuard {
    /// Claims the keys of a batch, all of them or none. Fails if another batch holds one, with the state that
    /// lasts longest.
    pub(super) fn claim(self: &Arc<Self>, batch: &Batch) -> Result<KeyGuardEntry, HeldKeys> {
        let keys = keys(batch);
        let mut open = self.lock();
        let in_the_way = open.iter().filter(|other| overlap(&keys, &other.keys));
        match in_the_way.map(|other| other.state).max() {
            Some(longest) => Err(longest),
            None => Ok(self.enter(&mut open, keys, HeldKeys::InFlight)),
        }
    }

    /// Claims the keys of a deferred part of a claimed batch.
    pub(super) fn defer(self: &Arc<Self>, part: &Batch) -> KeyGuardEntry {
        let deferred = self.enter(&mut self.lock(), keys(part), HeldKeys::Deferred);
        // A batch that waits for the whole batch is deferred now, instead of waiting until the end of the
        // run.
        self.released.notify_waiters();
        deferred
    }

    /// Returns a future that completes when keys are released or deferred after it was enabled.
    pub(super) fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    fn enter(self: &Arc<Self>, open: &mut Vec<Open>, keys: Box<[Key]>, state: HeldKeys) -> KeyGuardEntry {
        let serial = open.last().map_or(0, |last| last.serial + 1);
        open.push(Open { serial, state, keys });
        KeyGuardEntry {
            key_guard: Arc::clone(self),
            serial,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        // Every change under the lock is complete before anything can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyGuardEntry {
    /// Marks the batch as unresolved for the rest of the run.
    pub(super) fn mark_unresolved(&self) {
        let mut open = self.key_guard.lock();
        if let Some(own) = open.iter_mut().find(|open| open.serial == self.serial) {
            own.state = HeldKeys::Unresolved;
        }
    }
}

impl Drop for KeyGuardEntry {
    fn drop(&mut self) {
        self.key_guard.lock().retain(|open| open.serial != self.serial);
        self.key_guard.released.notify_waiters();
    }
}

fn keys(batch: &Batch) -> Box<[Key]> {
    let mut keys: Vec<Key> = batch.items.iter().map(key).collect();
    keys.sort_unstable();
    keys.into()
}

fn key(item: &Item) -> Key {
    let (tenant, external_identifier) = item.destination.qualifiers();
    Key {
        identity: item.identity,
        tenant,
        external_identifier,
    }
}

/// Returns true if a token of one could be mistaken for a token of the other. A batch contains an identity
/// once, so one pass over both lists is enough.
fn overlap(ours: &[Key], theirs: &[Key]) -> bool {
    let mut theirs = theirs.iter().peekable();
    ours.iter().any(|mine| {
        while theirs.next_if(|other| other.identity < mine.identity).is_some() {}
        theirs.peek().is_some_and(|other| {
            other.identity == mine.identity && (may_select(mine, other) || may_select(other, mine))
        })
    })
}

/// Returns true if a read-back of `wanted` may return `stored`.
fn may_select(wanted: &Key, stored: &Key) -> bool {
    (wanted.tenant.is_none() || wanted.tenant == stored.tenant)
        && (wanted.external_identifier.is_none() || wanted.external_identifier == stored.external_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Call, Destination, Subject};

    fn batch(tokens: &[(&str, Option<&str>, Option<&str>)]) -> Batch {
        let items = tokens.iter().map(|&(user, tenant, external)| {
            let destination = Destination::user("app", user)
                .in_tenant(tenant.map(Into::into))
                .identified_by(external.map(Into::into));
            Item::example(user, destination)
        });
        Batch {
            subject: Subject::User,
            call: Call::Batch,
            items: items.collect(),
            parent: None,
        }
    }

    #[test]
    fn only_tokens_that_could_be_mistaken_wait_for_each_other() {
        let key_guard = Arc::<KeyGuard>::default();
        let plain = key_guard
            .claim(&batch(&[("u1", None, None), ("u2", Some("t1"), None)]))
            .unwrap();
        let taken = |tokens: &[_]| key_guard.claim(&batch(tokens)).err();
        assert_eq!(taken(&[("u0", None, None), ("u3", None, None)]), None);
        assert_eq!(
            taken(&[("u0", None, None), ("u1", Some("t"), None)]),
            Some(HeldKeys::InFlight)
        );
        assert_eq!(taken(&[("u1", None, Some("x"))]), Some(HeldKeys::InFlight));
        assert_eq!(
            taken(&[("u2", Some("t2"), None)]),
            None,
            "selected by their tenants"
        );
        assert_eq!(taken(&[("u2", None, None)]), Some(HeldKeys::InFlight));
        drop(plain);
        assert_eq!(taken(&[("u1", Some("t"), None)]), None);
    }

    #[test]
    fn a_deferred_part_keeps_its_keys_and_frees_the_others() {
        let key_guard = Arc::<KeyGuard>::default();
        let whole = key_guard
            .claim(&batch(&[("u1", None, None), ("u2", None, None)]))
            .unwrap();
        let part = key_guard.defer(&batch(&[("u2", None, None)]));
        drop(whole);
        assert!(key_guard.claim(&batch(&[("u1", None, None)])).is_ok());
        let taken = key_guard.claim(&batch(&[("u2", Some("t"), None)]));
        assert_eq!(taken.err(), Some(HeldKeys::Deferred));
        part.mark_unresolved();
        let taken = key_guard.claim(&batch(&[("u2", Some("t"), None)]));
        assert_eq!(taken.err(), Some(HeldKeys::Unresolved));
        drop(part);
        assert!(key_guard.claim(&batch(&[("u2", Some("t"), None)])).is_ok());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_release_after_its_claim_failed() {
        let key_guard = Arc::<KeyGuard>::default();
        let first = key_guard.claim(&batch(&[("u1", None, None)])).unwrap();
        let mut released = std::pin::pin!(key_guard.released());
        released.as_mut().enable();
        assert!(key_guard.claim(&batch(&[("u1", None, None)])).is_err());
        drop(first);
        released.await;
        assert!(key_guard.claim(&batch(&[("u1", None, None)])).is_ok());
    }
}
