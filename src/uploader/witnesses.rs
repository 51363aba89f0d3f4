//! Witnesses of a batch: the tokens that are read back if its answer is lost.

use std::cmp::Reverse;

use crate::{
    descope,
    domain::{Batch, Item, Probe, Subject, Witness},
    secret::FingerprintKey,
};

/// A batch has at most so many: the later ones are read back where the first ones do not tell.
pub(super) const MAX_WITNESSES: usize = 3;

/// The rank of a token as a witness; the greatest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Reading it back does not make the API refresh it, as far as can be told today.
    is_readable: bool,
    /// By its access token it is recognised without its refresh token being shown.
    by_access_token: bool,
    /// It is asked for by tenant or external identifier, so that fewer others could stand in front of it.
    is_singled_out: bool,
    /// When its access token expires: the batch may be reconciled by another process, much later.
    alive_until: i64,
    position: Reverse<usize>,
}

/// The best witnesses of a batch, the very best first; none, if nothing of it differs from what was there before.
/// `readable_until`: a token that expires later can be read back without the API refreshing it, in seconds since 1970.
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
        .filter_map(|rank| {
            let item = &batch.items[rank.position.0];
            let probe = Probe::new(&item.destination, item.evidence.refresh);
            descope::witness(probe, &item.encoded, key, item.evidence)
        })
        .collect()
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
