//! Holds an examined page against what the ledger knows.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Candidate, Examined, Place, Unfetched, Verdict, is_newer};
use crate::model::{Decision, DestinationId, Item, Known, Prior, RuleSet, RunId, TokenState};

/// What is to be done about a page: every row of it is in exactly one of these.
#[derive(Debug, Default)]
pub struct Screened {
    /// To be sent.
    pub items: Vec<Item>,
    /// To be sent once their tokens are fetched.
    pub unfetched: Vec<Unfetched>,
    /// Those of the items that somebody should look at: their positions, in their order, and why.
    pub warnings: Vec<(usize, RuleSet)>,
    /// Failed or superseded; still to be recorded.
    pub decisions: Vec<Decision>,
    /// Superseded, and recorded as such by this very run already.
    pub superseded_before: i64,
    /// Committed by an earlier run, and the same today.
    pub unchanged: i64,
    /// Committed by this very run, before it was interrupted.
    pub committed_before: i64,
}

impl Examined {
    /// Settles each row with what the ledger knows; `run` tells this run's own outcomes, met again after a resume, from
    /// those of earlier ones. Where the source was asked for outdated rows (`rivals_known`), only this run's own tokens
    /// stand against a row of the page: the row behind an earlier one may be gone from the source.
    #[must_use]
    pub fn judge(self, known: &Known, run: RunId, rivals_known: bool) -> Screened {
        let outdated: Vec<bool> = self
            .candidates
            .iter()
            .map(|candidate| candidate.is_outdated(known, run))
            .collect();
        let newest = newest_of_each(&self.candidates, &outdated);
        let mut screened = Screened {
            items: Vec::with_capacity(self.candidates.len()),
            decisions: self.decisions,
            ..Screened::default()
        };
        for (position, candidate) in self.candidates.into_iter().enumerate() {
            if outdated[position] {
                screened.superseded_before += 1;
                continue;
            }
            if newest.get(&candidate.destination_id) != Some(&position) {
                screened.decisions.push(candidate.superseded());
                continue;
            }
            let settled = known.rows.get(&candidate.key);
            let incumbent = known
                .incumbents
                .get(&candidate.destination_id)
                .filter(|incumbent| incumbent.key != candidate.key);
            if incumbent.is_some_and(|incumbent| {
                (incumbent.run == run || !rivals_known)
                    && is_newer(
                        incumbent.version,
                        &incumbent.key,
                        candidate.version,
                        &candidate.key,
                    )
            }) {
                screened.decisions.push(candidate.superseded());
                continue;
            }
            let fingerprint = match candidate.verdict {
                Verdict::Ready(ref ready) => ready.fingerprint,
                Verdict::ToFetch(ref wanted) => wanted.fingerprint,
                Verdict::Forbidden(ref reason) => {
                    let reason = reason.clone();
                    screened
                        .decisions
                        .push(candidate.decided(TokenState::Failed, Some(reason)));
                    continue;
                }
            };
            if let Some(row) = settled
                && row.state == TokenState::Committed
                && row.fingerprint == Some(fingerprint)
                // What was sent there since may have taken its place.
                && known.prior(&candidate.destination_id) != Prior::Unresolved
            {
                if row.run == run {
                    screened.committed_before += 1;
                } else {
                    screened.unchanged += 1;
                }
                continue;
            }
            let place = Place {
                prior: known.prior(&candidate.destination_id),
                key: candidate.key,
                page: self.page,
                destination: candidate.destination,
                destination_id: candidate.destination_id,
                version: candidate.version,
                is_new: settled.is_none(),
                replaces: incumbent.map(|incumbent| incumbent.key.clone()),
            };
            match candidate.verdict {
                Verdict::Ready(ready) => {
                    if !ready.warnings.is_empty() {
                        screened.warnings.push((screened.items.len(), ready.warnings));
                    }
                    screened.items.push(place.carrying(ready, &self.sheet));
                }
                Verdict::ToFetch(wanted) => screened.unfetched.push(Unfetched::new(place, wanted)),
                Verdict::Forbidden(_) => {}
            }
        }
        screened
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AppMap,
        model::{
            Expiry, FingerprintKey, Incumbent, LegacyToken, Scopes, Secret, Settled, SourceKey, Subject,
            Version,
        },
        screen::Screen,
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

    fn screen() -> Screen {
        let apps = [("google".to_owned(), "google-calendar".to_owned())]
            .into_iter()
            .collect();
        Screen::new(AppMap::new(Some(apps)), FingerprintKey::new(&[7; 32], None))
    }

    fn judged(rows: Vec<LegacyToken>, known: &Known) -> Screened {
        screen().examine(3, rows).judge(known, 9, false)
    }

    fn codes(screened: &Screened) -> Vec<&str> {
        screened
            .decisions
            .iter()
            .filter_map(|d| d.reason.as_ref())
            .map(|reason| reason.code.as_ref())
            .collect()
    }

    #[test]
    fn each_local_rule_has_its_code() {
        let broken = |change: fn(&mut LegacyToken)| {
            let mut row = row("1", "u", 0);
            change(&mut row);
            let screened = judged(vec![row], &Known::default());
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
        let screened = judged(vec![tenant, both], &Known::default());
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
            let screened = judged(rows, &Known::default());
            assert_eq!(screened.items.len(), 1);
            assert_eq!(screened.items[0].key.as_str(), "2");
            assert_eq!(screened.decisions.len(), 2);
            assert!(
                screened
                    .decisions
                    .iter()
                    .all(|decision| decision.state == TokenState::Superseded)
            );
        }
        let tie = judged(vec![row("10", "u", 5), row("9", "u", 5)], &Known::default());
        assert_eq!(tie.items[0].key.as_str(), "10");
    }

    #[test]
    fn the_newest_row_decides_even_where_it_cannot_go_up() {
        let broken = LegacyToken {
            access_token: None,
            ..row("2", "u", 9)
        };
        let screened = judged(vec![row("1", "u", 5), broken], &Known::default());
        assert!(screened.items.is_empty());
        assert_eq!(codes(&screened), ["no_token"]);
    }

    #[test]
    fn unchanged_rows_stay_and_changed_ones_go() {
        let first = judged(vec![row("1", "u", 0)], &Known::default());
        let known = |state, run| {
            let settled = Settled {
                state,
                run,
                fingerprint: Some(first.items[0].fingerprint),
                outdated: None,
            };
            Known {
                rows: [(SourceKey::from("1"), settled)].into(),
                ..Known::default()
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
    fn what_this_run_found_outdated_stays_so_unless_the_row_changed_since() {
        let outdated = |state, run, version| {
            let outdated = Some((run, Version::new(Some(version))));
            let settled = Settled {
                state,
                run,
                fingerprint: None,
                outdated,
            };
            Known {
                rows: [(SourceKey::from("1"), settled)].into(),
                ..Known::default()
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
        let outdated = Settled {
            state: TokenState::Superseded,
            run: 9,
            fingerprint: None,
            outdated: Some((9, Version::new(Some(5)))),
        };
        let known = Known {
            rows: [(SourceKey::from("10"), outdated)].into(),
            ..Known::default()
        };
        let screened = judged(vec![row("10", "u", 5), row("9", "u", 5)], &known);
        assert_eq!(screened.items[0].key.as_str(), "9");
        assert_eq!(screened.superseded_before, 1);
    }

    #[test]
    fn a_newer_incumbent_supersedes_and_an_older_one_is_replaced() {
        let destination = judged(vec![row("1", "u", 5)], &Known::default()).items[0].destination_id;
        let known = |version| Known {
            incumbents: [(
                destination,
                Incumbent {
                    key: SourceKey::from("7"),
                    version: Version::new(Some(version)),
                    run: 8,
                },
            )]
            .into(),
            ..Known::default()
        };
        let older = judged(vec![row("1", "u", 5)], &known(4));
        assert_eq!(older.items[0].replaces, Some(SourceKey::from("7")));
        let newer = judged(vec![row("1", "u", 5)], &known(6));
        assert!(newer.items.is_empty());
        assert_eq!(newer.decisions[0].state, TokenState::Superseded);
        // Where the source said which rows are outdated, this one is not: the row behind the incumbent is gone.
        let gone = screen()
            .examine(3, vec![row("1", "u", 5)])
            .judge(&known(6), 9, true);
        assert_eq!(gone.items[0].replaces, Some(SourceKey::from("7")));
    }
}
