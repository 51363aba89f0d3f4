//! Holds an examined page against what the ledger knows.

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

/// Two migrations have a token for one destination, and which of them is newer cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The row of this migration.
    pub key: SourceKey,
    /// Where both go.
    pub destination: Destination,
    /// The other migration.
    pub migration: Arc<str>,
    /// Whether the row's token goes there now; else the other one's stays.
    pub goes_up: bool,
}

/// A token of an earlier run that keeps the page's newest row from its destination, as long as its own row is there and goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Where both go.
    pub destination: DestinationId,
    /// The row whose token is there.
    pub holder: SourceKey,
    /// The row of the page.
    key: SourceKey,
    version: Version,
}

impl Challenge {
    /// Whether the holder's row is newer still, with the version that it has today.
    #[must_use]
    pub fn is_lost_to(&self, version: Version) -> bool {
        is_newer(version, &self.holder, self.version, &self.key)
    }
}

/// What is to be done about a page: every row of it is in exactly one of these.
#[derive(Debug, Default)]
pub struct Validated {
    /// To be sent.
    pub items: Vec<Item>,
    /// To be sent once their tokens are fetched.
    pub unfetched: Vec<PendingFetch>,
    /// Those of the items that somebody should look at: their positions, in their order, and why.
    pub warnings: Vec<(usize, RuleSet)>,
    /// Failed or superseded; still to be recorded.
    pub decisions: Vec<Decision>,
    /// Rows of which nobody can tell whether they are newer than what another migration has sent to their destinations.
    pub conflicts: Vec<Conflict>,
    /// Superseded, and recorded as such by this very run already.
    pub superseded_before: i64,
    /// Of the rows that are stored, those whose destination the ledger knows under another ID.
    pub adopted: Vec<Adopted>,
    /// Committed by an earlier run, and the same today.
    pub unchanged: i64,
    /// Committed by this very run, before it was interrupted.
    pub committed_before: i64,
}

impl ExaminedPage {
    /// Rows of earlier runs whose tokens keep a row of this page from its destination. Each of them may be gone from the source,
    /// or go elsewhere by now, and somebody should look before [`judge`](Self::judge) is asked.
    #[must_use]
    pub fn challenges(&self, known: &LedgerState, run: RunId) -> Vec<Challenge> {
        let challenged = |candidate: &Candidate| {
            let holder = candidate.newer_holder(known)?;
            (holder.run != run && !candidate.is_outdated(known, run)).then(|| holder.key.clone())
        };
        // Mostly there are none, and then nothing more is worked out.
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
                // The page's newest may be newer than the holder, or be its very row.
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

    /// Settles each row with what the ledger knows; `run` tells this run's own outcomes, met again after a resume, from
    /// those of earlier ones.
    #[must_use]
    pub fn judge(self, known: &LedgerState, run: RunId, older: OlderVersions) -> Validated {
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
            match candidate.course(known, older) {
                Course::GoesUp(conflict) => {
                    let conflict = conflict.map(|other| candidate.conflict(other, true));
                    screened.conflicts.extend(conflict);
                }
                Course::IsThere {
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
                Course::Ends(end, conflict) => {
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
                Verdict::Forbidden(_) => {}
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

/// What becomes of a row that is the newest of its page for its destination. Where it cannot be told whether it is newer than what
/// another migration has sent there, that is named.
enum Course<'a> {
    GoesUp(Option<&'a SiblingToken>),
    /// The same was stored by this run, and is there still.
    IsThere {
        since: RunId,
        under_another_id: bool,
    },
    Ends(Unsent, Option<&'a SiblingToken>),
}

impl Candidate {
    fn course<'a>(&self, known: &'a LedgerState, older: OlderVersions) -> Course<'a> {
        let stored = known
            .rows
            .get(&self.key)
            .filter(|row| row.state == TokenState::Committed);
        let siblings = self.siblings(known, stored);
        let superseded = |by, other| Course::Ends(Unsent::Superseded(by), other);
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
                // What was sent there since may have taken its place.
                let is_unresolved = known.prior(&self.destination, &self.destination_id) == Prior::Unresolved;
                let under_another_id = row.destination != Some(self.destination_id);
                // What another row has sent there by its present ID came later.
                let is_displaced = under_another_id && self.holder(known).is_some();
                match siblings.incomparable {
                    Some(other) if siblings.overwritten => {
                        let by = Superseded::OtherMigration(Arc::clone(&other.migration));
                        return superseded(by, Some(other));
                    }
                    _ if !siblings.overwritten && !is_unresolved && !is_displaced => {
                        return Course::IsThere {
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
            Verdict::Forbidden(reason) => Course::Ends(Unsent::Failed(reason.clone()), None),
            Verdict::Ready(_) | Verdict::ToFetch(_) => Course::GoesUp(siblings.incomparable),
        }
    }

    /// Another row whose token is at the destination.
    fn holder<'a>(&self, known: &'a LedgerState) -> Option<&'a CurrentHolder> {
        known
            .incumbents
            .get(&self.destination_id)
            .filter(|holder| holder.key != self.key)
    }

    /// The same, if it is newer than this one, and there still.
    fn newer_holder<'a>(&self, known: &'a LedgerState) -> Option<&'a CurrentHolder> {
        self.holder(known).filter(|holder| {
            !holder.departed && is_newer(holder.version, &holder.key, self.version, &self.key)
        })
    }

    /// How it stands beside what other migrations have sent to its destination.
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

    /// By which the ledger would know what is sent; `None` if nothing is.
    fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.verdict {
            Verdict::Ready(ready) => Some(ready.fingerprint),
            Verdict::ToFetch(wanted) => Some(wanted.fingerprint),
            Verdict::Forbidden(_) => None,
        }
    }
}

/// The position of the newest row for each destination. A row that the source called outdated is never the newest beside
/// one that it did not.
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

/// The rows, by position, that are not the newest for their destination, each with the key of the one that is.
fn beaten(
    candidates: &[Candidate],
    newest: &HashMap<DestinationId, usize, RandomState>,
) -> HashMap<usize, SourceKey> {
    // Mostly no two rows have one destination.
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
mod tests {
    use super::*;
    use crate::{
        config::AppMap,
        domain::{
            CurrentHolder, Evidence, Expiry, Forgotten, LastOutcome, LegacyToken, Scopes, SourceKey, Subject,
            Version,
        },
        secret::{FingerprintKey, Secret},
        validation::Validator,
    };

    fn row(key: &str, user: &str, version: i64) -> LegacyToken {
        LegacyToken {
            app: Some("google".into()),
            user_id: Some(user.into()),
            access_token: Some(Secret::new(format!("token-of-{user}"))),
            version: Version::new(Some(version)),
            ..LegacyToken::empty(SourceKey::from(key))
        }
    }

    fn validator() -> Validator {
        let apps = [("google".to_owned(), "google-calendar".to_owned())]
            .into_iter()
            .collect();
        Validator::new(AppMap::new(Some(apps)), FingerprintKey::new(&[7; 32], None))
    }

    fn judged(rows: Vec<LegacyToken>, known: &LedgerState) -> Validated {
        validator()
            .examine(3, rows)
            .judge(known, 9, OlderVersions::Refused)
    }

    fn codes(screened: &Validated) -> Vec<&str> {
        screened
            .decisions
            .iter()
            .filter_map(Decision::failure)
            .map(|reason| reason.code.as_ref())
            .collect()
    }

    #[test]
    fn each_local_rule_has_its_code() {
        let broken = |change: fn(&mut LegacyToken)| {
            let mut row = row("1", "u", 0);
            change(&mut row);
            let screened = judged(vec![row], &LedgerState::default());
            assert!(screened.items.is_empty());
            codes(&screened).join(" ")
        };
        assert_eq!(broken(|row| row.app = None), "no_app");
        assert_eq!(broken(|row| row.app = Some("  ".into())), "no_app");
        assert_eq!(broken(|row| row.app = Some("slack".into())), "app_not_mapped");
        assert_eq!(broken(|row| row.user_id = None), "no_subject");
        assert_eq!(broken(|row| row.user_id = Some(" ".into())), "no_subject");
        assert_eq!(broken(|row| row.access_token = None), "no_token");
        assert_eq!(broken(|row| row.scopes = Scopes::Unreadable), "scopes_unreadable");
        assert_eq!(broken(|row| row.expiry = Expiry::Unreadable), "expiry_unreadable");
        assert_eq!(
            broken(|row| row.expiry = Expiry::At(i64::from(i32::MAX) + 1)),
            "expiry_out_of_range"
        );
        assert_eq!(broken(|row| row.expiry = Expiry::At(-1)), "expiry_out_of_range");
    }

    #[test]
    fn a_row_with_only_a_tenant_is_a_tenant_token() {
        let tenant = LegacyToken {
            user_id: None,
            tenant_id: Some("t".into()),
            ..row("1", "", 0)
        };
        let both = LegacyToken {
            tenant_id: Some("t".into()),
            ..row("2", "u", 0)
        };
        let screened = judged(vec![tenant, both], &LedgerState::default());
        let subjects: Vec<_> = screened
            .items
            .iter()
            .map(|item| item.destination.subject)
            .collect();
        assert_eq!(subjects, [Subject::Tenant, Subject::User]);
        assert_eq!(screened.items[0].destination.app_id, "google-calendar");
    }

    #[test]
    fn of_a_page_the_newest_goes_up_in_whatever_order_they_stand() {
        for rows in [
            vec![row("1", "u", 5), row("2", "u", 9), row("3", "u", 7)],
            vec![row("3", "u", 7), row("2", "u", 9), row("1", "u", 5)],
            vec![row("2", "u", 9), row("1", "u", 5), row("3", "u", 7)],
        ] {
            let screened = judged(rows, &LedgerState::default());
            assert_eq!(screened.items.len(), 1);
            assert_eq!(screened.items[0].key.as_str(), "2");
            assert_eq!(screened.decisions.len(), 2);
            let by_the_newest = Unsent::Superseded(Superseded::NewerRow("2".into()));
            assert!(
                screened
                    .decisions
                    .iter()
                    .all(|decision| decision.end == by_the_newest)
            );
        }
        let tie = judged(vec![row("10", "u", 5), row("9", "u", 5)], &LedgerState::default());
        assert_eq!(tie.items[0].key.as_str(), "10");
    }

    #[test]
    fn the_newest_row_decides_even_where_it_cannot_go_up() {
        let broken = LegacyToken {
            access_token: None,
            ..row("2", "u", 9)
        };
        let screened = judged(vec![row("1", "u", 5), broken], &LedgerState::default());
        assert!(screened.items.is_empty());
        assert_eq!(codes(&screened), ["no_token"]);
    }

    #[test]
    fn unchanged_rows_stay_and_changed_ones_go() {
        let first = judged(vec![row("1", "u", 0)], &LedgerState::default());
        let known = |state, run| {
            let settled = LastOutcome {
                state,
                run,
                fingerprint: Some(first.items[0].fingerprint),
                version: Version::new(Some(0)),
                batch: Some(1),
                since: None,
                outdated: None,
                destination: Some(first.items[0].destination_id),
            };
            LedgerState {
                rows: [(SourceKey::from("1"), settled)].into(),
                ..LedgerState::default()
            }
        };
        let judged = |user, known| judged(vec![row("1", user, 0)], &known);
        assert_eq!(judged("u", known(TokenState::Committed, 8)).unchanged, 1);
        assert_eq!(judged("u", known(TokenState::Committed, 9)).committed_before, 1);
        assert_eq!(judged("u", known(TokenState::Failed, 8)).items.len(), 1);
        assert_eq!(judged("v", known(TokenState::Committed, 8)).items.len(), 1);
        assert_eq!(judged("u", known(TokenState::Superseded, 8)).items.len(), 1);
    }

    #[test]
    fn a_stored_row_is_adopted_where_an_earlier_version_knew_its_destination_without_scopes() {
        let scoped = || LegacyToken {
            scopes: Scopes::Listed(["a".into()].into()),
            ..row("1", "u", 5)
        };
        let first = judged(vec![scoped()], &LedgerState::default());
        let item = &first.items[0];
        let settled = LastOutcome {
            state: TokenState::Committed,
            run: 8,
            fingerprint: Some(item.fingerprint),
            version: Version::new(Some(5)),
            batch: Some(1),
            since: None,
            outdated: None,
            destination: Some(item.destination.id_without_scopes()),
        };
        let mut known = LedgerState {
            rows: [(SourceKey::from("1"), settled)].into(),
            ..LedgerState::default()
        };
        let again = judged(vec![scoped()], &known);
        assert_eq!(again.unchanged, 1);
        let adopted = Adopted {
            key: "1".into(),
            destination: item.destination_id,
        };
        assert_eq!(again.adopted, [adopted]);
        // An older row went there meanwhile, as nobody knew that the destination was this one's.
        let holder = CurrentHolder {
            key: SourceKey::from("7"),
            version: Version::new(Some(4)),
            run: 9,
            departed: false,
            went_back: false,
        };
        known.incumbents.insert(item.destination_id, holder);
        assert_eq!(judged(vec![scoped()], &known).items.len(), 1);
    }

    #[test]
    fn what_may_be_at_a_destination_is_not_known_to_a_ledger_that_has_forgotten_things() {
        let prior = |scopes: Scopes, forgotten| {
            let known = LedgerState {
                forgotten,
                ..LedgerState::default()
            };
            let row = LegacyToken {
                scopes,
                ..row("1", "u", 5)
            };
            judged(vec![row], &known).items[0].evidence == Evidence::default()
        };
        let scoped = || Scopes::Listed(["a".into()].into());
        assert!(!prior(scoped(), Forgotten::Nothing));
        assert!(prior(scoped(), Forgotten::Scoped) && !prior(Scopes::Absent, Forgotten::Scoped));
        assert!(prior(Scopes::Absent, Forgotten::Elsewhere) && prior(Scopes::Absent, Forgotten::Anything));
    }

    #[test]
    fn what_this_run_found_outdated_stays_so_unless_the_row_changed_since() {
        let outdated = |state, run, version| {
            let outdated = Some((run, Version::new(Some(version))));
            let settled = LastOutcome {
                state,
                run,
                fingerprint: None,
                version: Version::default(),
                batch: None,
                since: None,
                outdated,
                destination: None,
            };
            LedgerState {
                rows: [(SourceKey::from("1"), settled)].into(),
                ..LedgerState::default()
            }
        };
        for state in [TokenState::Superseded, TokenState::Committed] {
            assert_eq!(
                judged(vec![row("1", "u", 5)], &outdated(state, 9, 5)).superseded_before,
                1
            );
            assert_eq!(
                judged(vec![row("1", "u", 6)], &outdated(state, 9, 5)).items.len(),
                1,
                "changed since"
            );
            assert_eq!(
                judged(vec![row("1", "u", 5)], &outdated(state, 8, 5)).items.len(),
                1,
                "an earlier run's word"
            );
        }
    }

    #[test]
    fn of_a_page_one_row_goes_up_even_where_source_and_screen_disagree_on_the_newest() {
        // As text, 9 comes after 10; as numbers it is the other way round.
        let outdated = LastOutcome {
            state: TokenState::Superseded,
            run: 9,
            fingerprint: None,
            version: Version::default(),
            batch: None,
            since: None,
            outdated: Some((9, Version::new(Some(5)))),
            destination: None,
        };
        let known = LedgerState {
            rows: [(SourceKey::from("10"), outdated)].into(),
            ..LedgerState::default()
        };
        let screened = judged(vec![row("10", "u", 5), row("9", "u", 5)], &known);
        assert_eq!(screened.items[0].key.as_str(), "9");
        assert_eq!(screened.superseded_before, 1);
    }

    /// Row 7 holds the destination of `user`, with this version, since run 8.
    fn held(user: &str, version: i64) -> LedgerState {
        let destination = judged(vec![row("1", user, 5)], &LedgerState::default()).items[0].destination_id;
        let holder = CurrentHolder {
            key: SourceKey::from("7"),
            version: Version::new(Some(version)),
            run: 8,
            departed: false,
            went_back: false,
        };
        LedgerState {
            incumbents: [(destination, holder)].into(),
            ..LedgerState::default()
        }
    }

    #[test]
    fn a_newer_holder_supersedes_and_one_that_is_older_or_gone_is_replaced() {
        let older = judged(vec![row("1", "u", 5)], &held("u", 4));
        assert_eq!(older.items[0].replaces, Some(SourceKey::from("7")));
        let newer = judged(vec![row("1", "u", 5)], &held("u", 6));
        assert!(newer.items.is_empty());
        assert_eq!(
            newer.decisions[0].end,
            Unsent::Superseded(Superseded::NewerRow("7".into()))
        );
        let mut known = held("u", 6);
        for holder in known.incumbents.values_mut() {
            holder.departed = true;
        }
        let gone = judged(vec![row("1", "u", 5)], &known);
        assert_eq!(gone.items[0].replaces, Some(SourceKey::from("7")));
    }

    #[test]
    fn only_newer_holders_of_earlier_runs_are_looked_up() {
        let challenges = |rows, known, run| validator().examine(3, rows).challenges(&known, run);
        let one = || vec![row("1", "u", 5), row("2", "v", 5)];
        let found = challenges(one(), held("u", 6), 9);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].holder, SourceKey::from("7"));
        assert!(found[0].is_lost_to(Version::new(Some(6))));
        assert!(!found[0].is_lost_to(Version::new(Some(4))));
        assert_eq!(challenges(one(), held("u", 4), 9), []);
        assert_eq!(challenges(one(), held("u", 6), 8), [], "its own");
        assert_eq!(
            challenges(vec![row("1", "u", 5), row("3", "u", 7)], held("u", 6), 9),
            [],
            "the page has a newer one"
        );
        assert_eq!(
            challenges(vec![row("1", "u", 5), row("7", "u", 6)], held("u", 6), 9),
            [],
            "the page has the very row"
        );
    }

    #[test]
    fn an_older_version_of_a_row_does_not_go_over_the_newer_one() {
        let stored = |content: &str, version| {
            let sent = judged(vec![row("1", content, 5)], &LedgerState::default());
            let settled = LastOutcome {
                state: TokenState::Committed,
                run: 8,
                fingerprint: Some(sent.items[0].fingerprint),
                version: Version::new(version),
                batch: Some(1),
                since: None,
                outdated: None,
                destination: Some(sent.items[0].destination_id),
            };
            LedgerState {
                rows: [(SourceKey::from("1"), settled)].into(),
                ..LedgerState::default()
            }
        };
        let older = judged(vec![row("1", "u", 5)], &stored("v", Some(6)));
        assert!(older.items.is_empty());
        assert_eq!(
            older.decisions[0].end,
            Unsent::Superseded(Superseded::OlderVersion)
        );
        let broken = LegacyToken {
            access_token: None,
            ..row("1", "u", 5)
        };
        let broken = judged(vec![broken], &stored("v", Some(6)));
        assert_eq!(
            broken.decisions[0].end,
            Unsent::Superseded(Superseded::OlderVersion)
        );
        // The same content is there, whatever the row says of its age.
        assert_eq!(judged(vec![row("1", "u", 5)], &stored("u", Some(6))).unchanged, 1);
        for version in [Some(5), Some(4), None] {
            let sent = judged(vec![row("1", "u", 5)], &stored("v", version));
            assert_eq!(sent.items.len(), 1, "{version:?}");
        }
        let allowed = validator().examine(3, vec![row("1", "u", 5)]).judge(
            &stored("v", Some(6)),
            9,
            OlderVersions::Allowed,
        );
        assert_eq!(allowed.items.len(), 1);
    }

    #[test]
    fn another_migration_keeps_its_newer_token_and_its_older_one_is_replaced() {
        let mine = judged(vec![row("1", "u", 5)], &LedgerState::default());
        let (destination, fingerprint) = (mine.items[0].destination_id, mine.items[0].fingerprint);
        let known = |version: Option<i64>, stored: Option<i64>| {
            let sibling = SiblingToken {
                migration: "other".into(),
                version: Version::new(version),
                fingerprint: None,
                batch: Some(10),
                until: None,
            };
            let settled = stored.map(|batch| LastOutcome {
                state: TokenState::Committed,
                run: 8,
                fingerprint: Some(fingerprint),
                version: Version::new(Some(5)),
                batch: Some(batch),
                since: None,
                outdated: None,
                destination: Some(destination),
            });
            LedgerState {
                rows: settled
                    .map(|row| (SourceKey::from("1"), row))
                    .into_iter()
                    .collect(),
                siblings: [(destination, vec![sibling])].into(),
                ..LedgerState::default()
            }
        };
        let judged = |known| judged(vec![row("1", "u", 5)], &known);
        for stored in [None, Some(9), Some(11)] {
            let newer = judged(known(Some(6), stored));
            assert_eq!(
                newer.decisions[0].end,
                Unsent::Superseded(Superseded::NewerElsewhere("other".into()))
            );
        }
        // An older one that was sent later is what is there: it has to be put right.
        assert_eq!(judged(known(Some(4), None)).items.len(), 1);
        assert_eq!(judged(known(Some(4), Some(9))).items.len(), 1);
        assert_eq!(judged(known(Some(4), Some(11))).unchanged, 1);
        // Where nobody can tell, a new token goes up, and one that was overwritten is not called stored.
        let first = judged(known(None, None));
        assert_eq!((first.items.len(), first.conflicts[0].goes_up), (1, true));
        let overwritten = judged(known(None, Some(9)));
        assert_eq!(
            overwritten.decisions[0].end,
            Unsent::Superseded(Superseded::OtherMigration("other".into()))
        );
        assert!(!overwritten.conflicts[0].goes_up);
        let last = judged(known(None, Some(11)));
        assert_eq!((last.unchanged, last.conflicts.len()), (1, 0));
    }
}
