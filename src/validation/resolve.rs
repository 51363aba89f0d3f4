//! Resolution of an examined page against the ledger's state.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    Candidate, ExaminedPage, PendingFetch, Place, Verdict, is_newer,
    siblings::{SiblingStanding, standing},
};
use crate::{
    domain::{
        Adopted, CurrentHolder, Decision, Destination, DestinationId, Item, LastOutcome, LedgerState,
        OlderVersions, Prior, RuleSet, RunId, SiblingToken, SourceKey, Superseded, TokenState, Unsent,
        Version,
    },
    secret::Fingerprint,
};

/// Two migrations have a token for one destination, and it is unknown which is newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The row of this migration.
    pub key: SourceKey,
    /// The destination of both.
    pub destination: Destination,
    /// The other migration.
    pub migration: Arc<str>,
    /// True if this row's token is sent; otherwise the other one stays.
    pub goes_up: bool,
}

/// A token of an earlier run that blocks the page's newest row, as long as its own row still exists and has
/// this destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The destination of both.
    pub destination: DestinationId,
    /// The row whose token is stored.
    pub holder: SourceKey,
    /// The row of the page.
    key: SourceKey,
    version: Version,
}

impl Challenge {
    /// Returns true if the holder's row is still newer, with its current version.
    #[must_use]
    pub fn is_lost_to(&self, version: Version) -> bool {
        is_newer(version, &self.holder, self.version, &self.key)
    }
}

/// The result for a page: every row is in exactly one of these.
#[derive(Debug, Default)]
pub struct Validated {
    /// Rows to send.
    pub items: Vec<Item>,
    /// Rows to send once their tokens are fetched.
    pub unfetched: Vec<PendingFetch>,
    /// Warnings: positions in `items`, in order, with the broken rules.
    pub warnings: Vec<(usize, RuleSet)>,
    /// Failed or superseded rows, to be recorded.
    pub decisions: Vec<Decision>,
    /// Rows that cannot be compared with tokens that other migrations sent to their destinations.
    pub conflicts: Vec<Conflict>,
    /// Superseded rows that this run already recorded.
    pub superseded_before: i64,
    /// Stored rows whose destination has another ID in the ledger.
    pub adopted: Vec<Adopted>,
    /// Rows committed by an earlier run and unchanged since.
    pub unchanged: i64,
    /// Rows committed by this run before it was interrupted.
    pub committed_before: i64,
}

impl ExaminedPage {
    /// Returns the rows of earlier runs whose tokens block a row of this page. Such a row may be gone from
    /// the source or have another destination by now: check that before calling [`resolve`](Self::resolve).
    #[must_use]
    pub fn challenges(&self, known: &LedgerState, run: RunId) -> Vec<Challenge> {
        let challenged = |candidate: &Candidate| {
            let holder = candidate.newer_holder(known)?;
            (holder.run != run && !candidate.is_outdated(known, run)).then(|| holder.key.clone())
        };
        // Usually there are none, which ends the work here.
        let mut keys: HashMap<DestinationId, SourceKey> = self
            .candidates
            .iter()
            .filter_map(|candidate| Some((candidate.destination_id, challenged(candidate)?)))
            .collect();
        if keys.is_empty() {
            return Vec::new();
        }
        let outdated = self.outdated(known, run);
        let newest = newest_of_each(&self.candidates, &outdated);
        newest
            .into_iter()
            .filter_map(|(destination, position)| {
                let candidate = &self.candidates[position];
                // Not challenged if the page's newest row is newer than the holder, or is the holder.
                challenged(candidate)?;
                Some(Challenge {
                    destination,
                    holder: keys.remove(&destination)?,
                    key: candidate.key.clone(),
                    version: candidate.version,
                })
            })
            .collect()
    }

    /// Resolves each row. `run` distinguishes outcomes of this run, met again after a resume, from those of
    /// earlier runs.
    #[must_use]
    pub fn resolve(self, known: &LedgerState, run: RunId, older: OlderVersions) -> Validated {
        let outdated = self.outdated(known, run);
        let newest = newest_of_each(&self.candidates, &outdated);
        let mut beaten = beaten(&self.candidates, &newest);
        let mut screened = Validated {
            items: Vec::with_capacity(self.candidates.len()),
            decisions: self.decisions,
            ..Validated::default()
        };
        for (position, candidate) in self.candidates.into_iter().enumerate() {
            if outdated[position] {
                screened.superseded_before += 1;
                continue;
            }
            if let Some(by) = beaten.remove(&position) {
                let decision = candidate.unsent(Unsent::Superseded(Superseded::NewerRow(by)));
                screened.decisions.push(decision);
                continue;
            }
            match candidate.decide(known, older) {
                Resolution::Upload(conflict) => {
                    let conflict = conflict.map(|other| candidate.conflict(other, true));
                    screened.conflicts.extend(conflict);
                }
                Resolution::AlreadyStored {
                    since,
                    under_another_id,
                } => {
                    let counted = if since == run {
                        &mut screened.committed_before
                    } else {
                        &mut screened.unchanged
                    };
                    *counted += 1;
                    screened.adopted.extend(under_another_id.then_some(Adopted {
                        key: candidate.key,
                        destination: candidate.destination_id,
                    }));
                    continue;
                }
                Resolution::NotSent(end, conflict) => {
                    let conflict = conflict.map(|other| candidate.conflict(other, false));
                    screened.conflicts.extend(conflict);
                    screened.decisions.push(candidate.unsent(end));
                    continue;
                }
            }
            let is_new = !known.rows.contains_key(&candidate.key);
            let replaces = candidate.holder(known).map(|holder| holder.key.clone());
            let place = Place {
                prior: known.prior(&candidate.destination, &candidate.destination_id),
                key: candidate.key,
                page: self.page,
                destination: candidate.destination,
                destination_id: candidate.destination_id,
                version: candidate.version,
                is_new,
                replaces,
            };
            match candidate.verdict {
                Verdict::Ready(ready) => {
                    if !ready.warnings.is_empty() {
                        screened.warnings.push((screened.items.len(), ready.warnings));
                    }
                    screened.items.push(place.carrying(ready, &self.encoded_page));
                }
                Verdict::ToFetch(wanted) => screened.unfetched.push(PendingFetch::new(place, wanted)),
                Verdict::Forbidden(..) => {}
            }
        }
        screened
    }

    fn outdated(&self, known: &LedgerState, run: RunId) -> Vec<bool> {
        self.candidates
            .iter()
            .map(|candidate| candidate.is_outdated(known, run))
            .collect()
    }
}

/// The course of the newest row of its destination. Names another migration's token if the two cannot be
/// compared.
enum Resolution<'a> {
    Upload(Option<&'a SiblingToken>),
    /// The same token was stored by run `since` and is still there.
    AlreadyStored {
        since: RunId,
        under_another_id: bool,
    },
    NotSent(Unsent, Option<&'a SiblingToken>),
}

impl Candidate {
    fn decide<'a>(&self, known: &'a LedgerState, older: OlderVersions) -> Resolution<'a> {
        let stored = known
            .rows
            .get(&self.key)
            .filter(|row| row.state == TokenState::Committed);
        let siblings = self.siblings(known, stored);
        let superseded = |by, other| Resolution::NotSent(Unsent::Superseded(by), other);
        if let Some(holder) = self.newer_holder(known) {
            if holder.went_back {
                return superseded(Superseded::OlderVersion, None);
            }
            return superseded(Superseded::NewerRow(holder.key.clone()), None);
        }
        if let Some(newer) = siblings.newer {
            return superseded(Superseded::NewerElsewhere(Arc::clone(&newer.migration)), None);
        }
        match stored {
            Some(row) if row.fingerprint.is_some() && row.fingerprint == self.fingerprint() => {
                // A later upload of unknown outcome may have replaced it.
                let is_unresolved = known.prior(&self.destination, &self.destination_id) == Prior::Unresolved;
                let under_another_id = row.destination != Some(self.destination_id);
                // Another row was sent to its present ID later.
                let is_displaced = under_another_id && self.holder(known).is_some();
                match siblings.incomparable {
                    Some(other) if siblings.overwritten => {
                        let by = Superseded::OtherMigration(Arc::clone(&other.migration));
                        return superseded(by, Some(other));
                    }
                    _ if !siblings.overwritten && !is_unresolved && !is_displaced => {
                        return Resolution::AlreadyStored {
                            since: row.run,
                            under_another_id,
                        };
                    }
                    _ => {}
                }
            }
            Some(row) if older == OlderVersions::Refused && self.version.is_before(row.version) => {
                return superseded(Superseded::OlderVersion, None);
            }
            Some(_) | None => {}
        }
        match &self.verdict {
            Verdict::Forbidden(reason, _) => Resolution::NotSent(Unsent::Failed(reason.clone()), None),
            Verdict::Ready(_) | Verdict::ToFetch(_) => Resolution::Upload(siblings.incomparable),
        }
    }

    /// Returns another row whose token is at the destination.
    fn holder<'a>(&self, known: &'a LedgerState) -> Option<&'a CurrentHolder> {
        known
            .incumbents
            .get(&self.destination_id)
            .filter(|holder| holder.key != self.key)
    }

    /// Returns such a row if it is newer than this one and still there.
    fn newer_holder<'a>(&self, known: &'a LedgerState) -> Option<&'a CurrentHolder> {
        self.holder(known).filter(|holder| {
            !holder.departed && is_newer(holder.version, &holder.key, self.version, &self.key)
        })
    }

    /// Compares the row with the tokens that other migrations sent to its destination.
    fn siblings<'a>(&self, known: &'a LedgerState, stored: Option<&LastOutcome>) -> SiblingStanding<'a> {
        match known.siblings.get(&self.destination_id) {
            None => SiblingStanding::default(),
            Some(siblings) => standing(siblings, self.version, self.fingerprint(), stored),
        }
    }

    fn conflict(&self, with: &SiblingToken, goes_up: bool) -> Conflict {
        Conflict {
            key: self.key.clone(),
            destination: self.destination.clone(),
            migration: Arc::clone(&with.migration),
            goes_up,
        }
    }

    /// Returns the fingerprint of what would be sent; `None` if nothing is.
    fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.verdict {
            Verdict::Ready(ready) => Some(ready.fingerprint),
            Verdict::ToFetch(wanted) => Some(wanted.fingerprint),
            Verdict::Forbidden(..) => None,
        }
    }
}

/// Returns the position of the newest row per destination. A row that the source query called outdated never
/// wins over one that it did not.
fn newest_of_each(candidates: &[Candidate], outdated: &[bool]) -> HashMap<DestinationId, usize, RandomState> {
    let mut newest = HashMap::with_capacity_and_hasher(candidates.len(), RandomState::default());
    for (position, candidate) in candidates.iter().enumerate() {
        let best = newest.entry(candidate.destination_id).or_insert(position);
        let other = &candidates[*best];
        let beats = match (outdated[position], outdated[*best]) {
            (false, true) => true,
            (true, false) => false,
            _ => is_newer(candidate.version, &candidate.key, other.version, &other.key),
        };
        if beats {
            *best = position;
        }
    }
    newest
}

/// Returns the rows, by position, that are not the newest of their destination, each with the key of the
/// newest.
fn beaten(
    candidates: &[Candidate],
    newest: &HashMap<DestinationId, usize, RandomState>,
) -> HashMap<usize, SourceKey> {
    // Usually no two rows share a destination.
    if newest.len() == candidates.len() {
        return HashMap::new();
    }
    let beaten_by = |(position, candidate): (usize, &Candidate)| {
        let best = *newest.get(&candidate.destination_id)?;
        (best != position).then(|| (position, candidates[best].key.clone()))
    };
    candidates.iter().enumerate().filter_map(beaten_by).collect()
}

#[cfg(test)]
mod tests;
