//! Tests of resolution: outcomes of rows for a given ledger state.

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

fn resolved(rows: Vec<LegacyToken>, known: &LedgerState) -> Validated {
    validator()
        .examine(3, rows)
        .resolve(known, 9, OlderVersions::Refused)
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
        let screened = resolved(vec![row], &LedgerState::default());
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
    let screened = resolved(vec![tenant, both], &LedgerState::default());
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
        let screened = resolved(rows, &LedgerState::default());
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
    let tie = resolved(vec![row("10", "u", 5), row("9", "u", 5)], &LedgerState::default());
    assert_eq!(tie.items[0].key.as_str(), "10");
}

#[test]
fn the_newest_row_decides_even_where_it_cannot_go_up() {
    let broken = LegacyToken {
        access_token: None,
        ..row("2", "u", 9)
    };
    let screened = resolved(vec![row("1", "u", 5), broken], &LedgerState::default());
    assert!(screened.items.is_empty());
    assert_eq!(codes(&screened), ["no_token"]);
}

#[test]
fn unchanged_rows_stay_and_changed_ones_go() {
    let first = resolved(vec![row("1", "u", 0)], &LedgerState::default());
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
    let resolved = |user, known| resolved(vec![row("1", user, 0)], &known);
    assert_eq!(resolved("u", known(TokenState::Committed, 8)).unchanged, 1);
    assert_eq!(resolved("u", known(TokenState::Committed, 9)).committed_before, 1);
    assert_eq!(resolved("u", known(TokenState::Failed, 8)).items.len(), 1);
    assert_eq!(resolved("v", known(TokenState::Committed, 8)).items.len(), 1);
    assert_eq!(resolved("u", known(TokenState::Superseded, 8)).items.len(), 1);
}

#[test]
fn a_stored_row_is_adopted_where_an_earlier_version_knew_its_destination_without_scopes() {
    let scoped = || LegacyToken {
        scopes: Scopes::Listed(["a".into()].into()),
        ..row("1", "u", 5)
    };
    let first = resolved(vec![scoped()], &LedgerState::default());
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
    let again = resolved(vec![scoped()], &known);
    assert_eq!(again.unchanged, 1);
    let adopted = Adopted {
        key: "1".into(),
        destination: item.destination_id,
    };
    assert_eq!(again.adopted, [adopted]);
    // An older row was sent there since, as its destination seemed to be another one.
    let holder = CurrentHolder {
        key: SourceKey::from("7"),
        version: Version::new(Some(4)),
        run: 9,
        departed: false,
        went_back: false,
    };
    known.incumbents.insert(item.destination_id, holder);
    assert_eq!(resolved(vec![scoped()], &known).items.len(), 1);
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
        resolved(vec![row], &known).items[0].evidence == Evidence::default()
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
            resolved(vec![row("1", "u", 5)], &outdated(state, 9, 5)).superseded_before,
            1
        );
        assert_eq!(
            resolved(vec![row("1", "u", 6)], &outdated(state, 9, 5))
                .items
                .len(),
            1,
            "changed since"
        );
        assert_eq!(
            resolved(vec![row("1", "u", 5)], &outdated(state, 8, 5))
                .items
                .len(),
            1,
            "an earlier run's word"
        );
    }
}

#[test]
fn of_a_page_one_row_goes_up_even_where_source_and_screen_disagree_on_the_newest() {
    // As texts, 9 comes after 10; as numbers, before it.
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
    let screened = resolved(vec![row("10", "u", 5), row("9", "u", 5)], &known);
    assert_eq!(screened.items[0].key.as_str(), "9");
    assert_eq!(screened.superseded_before, 1);
}

/// Row 7 holds the destination of `user`, with this version, since run 8.
fn held(user: &str, version: i64) -> LedgerState {
    let destination = resolved(vec![row("1", user, 5)], &LedgerState::default()).items[0].destination_id;
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
    let older = resolved(vec![row("1", "u", 5)], &held("u", 4));
    assert_eq!(older.items[0].replaces, Some(SourceKey::from("7")));
    let newer = resolved(vec![row("1", "u", 5)], &held("u", 6));
    assert!(newer.items.is_empty());
    assert_eq!(
        newer.decisions[0].end,
        Unsent::Superseded(Superseded::NewerRow("7".into()))
    );
    let mut known = held("u", 6);
    for holder in known.incumbents.values_mut() {
        holder.departed = true;
    }
    let gone = resolved(vec![row("1", "u", 5)], &known);
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
        let sent = resolved(vec![row("1", content, 5)], &LedgerState::default());
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
    let older = resolved(vec![row("1", "u", 5)], &stored("v", Some(6)));
    assert!(older.items.is_empty());
    assert_eq!(
        older.decisions[0].end,
        Unsent::Superseded(Superseded::OlderVersion)
    );
    let broken = LegacyToken {
        access_token: None,
        ..row("1", "u", 5)
    };
    let broken = resolved(vec![broken], &stored("v", Some(6)));
    assert_eq!(
        broken.decisions[0].end,
        Unsent::Superseded(Superseded::OlderVersion)
    );
    // The same content is stored, whatever version the row has.
    assert_eq!(
        resolved(vec![row("1", "u", 5)], &stored("u", Some(6))).unchanged,
        1
    );
    for version in [Some(5), Some(4), None] {
        let sent = resolved(vec![row("1", "u", 5)], &stored("v", version));
        assert_eq!(sent.items.len(), 1, "{version:?}");
    }
    let allowed = validator().examine(3, vec![row("1", "u", 5)]).resolve(
        &stored("v", Some(6)),
        9,
        OlderVersions::Allowed,
    );
    assert_eq!(allowed.items.len(), 1);
}

#[test]
fn another_migration_keeps_its_newer_token_and_its_older_one_is_replaced() {
    let mine = resolved(vec![row("1", "u", 5)], &LedgerState::default());
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
    let resolved = |known| resolved(vec![row("1", "u", 5)], &known);
    for stored in [None, Some(9), Some(11)] {
        let newer = resolved(known(Some(6), stored));
        assert_eq!(
            newer.decisions[0].end,
            Unsent::Superseded(Superseded::NewerElsewhere("other".into()))
        );
    }
    // An older token that was sent later is stored: it has to be replaced.
    assert_eq!(resolved(known(Some(4), None)).items.len(), 1);
    assert_eq!(resolved(known(Some(4), Some(9))).items.len(), 1);
    assert_eq!(resolved(known(Some(4), Some(11))).unchanged, 1);
    // If the two cannot be compared, a new token is sent, and an overwritten one does not count as stored.
    let first = resolved(known(None, None));
    assert_eq!((first.items.len(), first.conflicts[0].goes_up), (1, true));
    let overwritten = resolved(known(None, Some(9)));
    assert_eq!(
        overwritten.decisions[0].end,
        Unsent::Superseded(Superseded::OtherMigration("other".into()))
    );
    assert!(!overwritten.conflicts[0].goes_up);
    let last = resolved(known(None, Some(11)));
    assert_eq!((last.unchanged, last.conflicts.len()), (1, 0));
}
