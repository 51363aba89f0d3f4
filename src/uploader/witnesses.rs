//! Witnesses of a batch: the tokens that are read back if its response is lost.

use std::cmp::Reverse;

use crate::{
    descope,
    domain::{Batch, Item, Probe, Subject, Witness},
    secret::FingerprintKey,
};

/// Maximum number of witnesses of a batch. The later ones are read back if the first ones prove nothing.
pub(super) const MAX_WITNESSES: usize = 3;

/// The rank of a token as a witness; the greatest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// As far as is known now, a read-back does not make the API refresh it.
    is_readable: bool,
    /// Its access token is enough to recognise it; its refresh token need not be shown.
    by_access_token: bool,
    /// Its read-back selects by tenant or external identifier, so that fewer other tokens could hide it.
    is_singled_out: bool,
    /// Expiry of its access token: another process may reconcile the batch much later.
    alive_until: i64,
    position: Reverse<usize>,
}

/// Returns the best witnesses of a batch, best first; none if nothing in it differs from what was there
/// before. A token that expires after `readable_until`, in seconds since 1970, can be read back without the
/// API refreshing it.
pub(super) fn choose(batch: &Batch, key: &FingerprintKey, readable_until: i64) -> Vec<Witness> {
    let mut best: Vec<Rank> = Vec::with_capacity(MAX_WITNESSES + 1);
    for (position, item) in batch.items.iter().enumerate() {
        let Some(rank) = rank(item, position, readable_until) else {
            continue;
        };
        let place = best.partition_point(|other| *other > rank);
        best.insert(place, rank);
        best.truncate(MAX_WITNESSES);
    }
    best.iter()
        .filter_map(|rank| witness(&batch.items[rank.position.0], key))
        .collect()
}

/// Moves the last token that can be read back to the end of the batch. Returns false if there is none.
pub(super) fn move_to_end(batch: &mut Batch, readable_until: i64) -> bool {
    let items = &mut batch.items;
    let Some(position) = items.iter().rposition(|item| item.can_testify(readable_until)) else {
        return false;
    };
    let end = items.len() - 1;
    items.swap(position, end);
    true
}

/// Returns the last token as the only witness of a batch of which the API may store just the first tokens.
pub(super) fn choose_last(batch: &Batch, key: &FingerprintKey) -> Vec<Witness> {
    batch
        .items
        .last()
        .and_then(|item| witness(item, key))
        .into_iter()
        .collect()
}

/// Returns a token as a witness; `None` if it cannot be one.
pub(super) fn witness(item: &Item, key: &FingerprintKey) -> Option<Witness> {
    let probe = Probe::new(&item.destination, item.evidence.refresh);
    descope::witness(probe, &item.encoded, key, item.evidence)
}

fn rank(item: &Item, position: usize, readable_until: i64) -> Option<Rank> {
    let destination = &item.destination;
    let in_tenant = destination.subject == Subject::User && destination.tenant_id.is_some();
    item.evidence.is_any().then(|| Rank {
        is_readable: item.can_testify(readable_until),
        by_access_token: item.evidence.access,
        is_singled_out: in_tenant || destination.external_identifier.is_some(),
        alive_until: item.alive_until(),
        position: Reverse(position),
    })
}
