//! Key guard: keeps batches apart that a read-back could confuse.
//!
//! `token/latest` selects by tenant and external identifier only where they are given: asked for a user's plain token, it
//! may show a newer one that the same user has in a tenant. As long as only one of two such tokens is on its way, a plain
//! token that was stored is the latest, and is seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, futures::Notified};

use crate::domain::{Batch, Identity, Item};

/// The batches whose outcome is not known yet.
#[derive(Debug, Default)]
pub(super) struct KeyGuard {
    open: Mutex<Vec<Open>>,
    released: Notify,
}

#[derive(Debug)]
struct Open {
    serial: u64,
    state: HeldKeys,
    /// In the order of their identities.
    places: Box<[Place]>,
}

/// What reading a token back would select by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    identity: Identity,
    /// Hashes suffice: a collision costs a wait.
    tenant: Option<u64>,
    external_identifier: Option<u64>,
}

/// Why a batch may not leave now: a token that could be mistaken for one of its own is in another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HeldKeys {
    /// Which is in flight.
    InFlight,
    /// Which was put aside; its outcome is asked for at the end of the run.
    Parked,
    /// Of which nobody tells what became, in this run.
    InDoubt,
}

/// Held while it is not known what became of a batch.
#[derive(Debug)]
pub(super) struct KeyGuardEntry {
    key_guard: Arc<KeyGuard>,
    serial: u64,
}

impl KeyGuard {
    /// Claims the places of a batch, all of them or none.
    pub(super) fn claim(self: &Arc<Self>, batch: &Batch) -> Result<KeyGuardEntry, HeldKeys> {
        let places = places(batch);
        let mut open = self.lock();
        let in_the_way = open.iter().filter(|other| overlap(&places, &other.places));
        match in_the_way.map(|other| other.state).max() {
            Some(longest) => Err(longest),
            None => Ok(self.enter(&mut open, places, HeldKeys::InFlight)),
        }
    }

    /// Claims the places of a part of a claimed batch that is put aside.
    pub(super) fn defer(self: &Arc<Self>, part: &Batch) -> KeyGuardEntry {
        let deferred = self.enter(&mut self.lock(), places(part), HeldKeys::Parked);
        // Who waits for the whole batch learns that it waits for a parked one.
        self.released.notify_waiters();
        deferred
    }

    /// Ends once a claim was released, or parked, after this future was enabled.
    pub(super) fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    fn enter(self: &Arc<Self>, open: &mut Vec<Open>, places: Box<[Place]>, state: HeldKeys) -> KeyGuardEntry {
        let serial = open.last().map_or(0, |last| last.serial + 1);
        open.push(Open {
            serial,
            state,
            places,
        });
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
    /// Nobody tells what became of the batch.
    pub(super) fn mark_unresolved(&self) {
        let mut open = self.key_guard.lock();
        if let Some(own) = open.iter_mut().find(|open| open.serial == self.serial) {
            own.state = HeldKeys::InDoubt;
        }
    }
}

impl Drop for KeyGuardEntry {
    fn drop(&mut self) {
        self.key_guard.lock().retain(|open| open.serial != self.serial);
        self.key_guard.released.notify_waiters();
    }
}

fn places(batch: &Batch) -> Box<[Place]> {
    let mut places: Vec<Place> = batch.items.iter().map(place).collect();
    places.sort_unstable();
    places.into()
}

fn place(item: &Item) -> Place {
    let (tenant, external_identifier) = item.destination.qualifiers();
    Place {
        identity: item.identity,
        tenant,
        external_identifier,
    }
}

/// Whether a token of one could be mistaken for a token of the other. A batch holds an identity once, so both lists are
/// passed once.
fn overlap(ours: &[Place], theirs: &[Place]) -> bool {
    let mut theirs = theirs.iter().peekable();
    ours.iter().any(|mine| {
        while theirs.next_if(|other| other.identity < mine.identity).is_some() {}
        theirs.peek().is_some_and(|other| {
            other.identity == mine.identity && (may_select(mine, other) || may_select(other, mine))
        })
    })
}

/// Whether asking for `wanted` may show `stored`.
fn may_select(wanted: &Place, stored: &Place) -> bool {
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
    fn a_parked_part_keeps_its_places_and_frees_the_others() {
        let key_guard = Arc::<KeyGuard>::default();
        let whole = key_guard
            .claim(&batch(&[("u1", None, None), ("u2", None, None)]))
            .unwrap();
        let part = key_guard.defer(&batch(&[("u2", None, None)]));
        drop(whole);
        assert!(key_guard.claim(&batch(&[("u1", None, None)])).is_ok());
        let taken = key_guard.claim(&batch(&[("u2", Some("t"), None)]));
        assert_eq!(taken.err(), Some(HeldKeys::Parked));
        part.mark_unresolved();
        let taken = key_guard.claim(&batch(&[("u2", Some("t"), None)]));
        assert_eq!(taken.err(), Some(HeldKeys::InDoubt));
        drop(part);
        assert!(key_guard.claim(&batch(&[("u2", Some("t"), None)])).is_ok());
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_release_that_came_after_looking() {
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
