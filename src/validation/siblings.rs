//! Siblings: compares a row with tokens that other migrations of the ledger sent to its destination.
//!
//! The newer one belongs there, whichever migration sent it. If they cannot be compared, the one that was
//! sent last stays until its row changes, and a person is warned.

use crate::{
    domain::{LastOutcome, SiblingToken, Version},
    secret::Fingerprint,
};

/// The row compared with tokens of other migrations.
#[derive(Debug, Default)]
pub(super) struct SiblingStanding<'a> {
    /// A token that is newer than the row.
    pub(super) newer: Option<&'a SiblingToken>,
    /// A token that cannot be compared with the row.
    pub(super) incomparable: Option<&'a SiblingToken>,
    /// The row's stored token is no longer at the destination: another migration's was sent after it.
    pub(super) overwritten: bool,
}

/// Compares the row; `fingerprint` is what would be sent, `stored` the row's committed outcome.
pub(super) fn standing<'a>(
    siblings: &'a [SiblingToken],
    version: Version,
    fingerprint: Option<Fingerprint>,
    stored: Option<&LastOutcome>,
) -> SiblingStanding<'a> {
    let mut standing = SiblingStanding::default();
    for sibling in siblings {
        if sibling.fingerprint.is_some() && sibling.fingerprint == fingerprint {
            // The same token: it makes no difference which of the two is there.
            continue;
        }
        standing.overwritten |= stored.is_some_and(|row| may_be_later(sibling, row));
        if version.is_before(sibling.version) {
            standing.newer = Some(sibling);
        } else if !sibling.version.is_before(version) {
            standing.incomparable = Some(sibling);
        }
    }
    standing
}

/// Returns true if a sibling may have arrived after the row's stored token. Batch numbers reflect the first
/// attempt, but a delayed batch arrives later.
fn may_be_later(sibling: &SiblingToken, row: &LastOutcome) -> bool {
    match (sibling.until, row.since) {
        (Some(until), Some(since)) => until >= since,
        _ => sibling.batch > row.batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::TokenState, secret::FingerprintKey};

    fn fingerprint(of: &str) -> Fingerprint {
        FingerprintKey::new(&[7; 32], None).fingerprint(of.as_bytes())
    }

    fn sibling(version: Option<i64>, batch: i64) -> SiblingToken {
        SiblingToken {
            migration: "other".into(),
            version: Version::new(version),
            fingerprint: Some(fingerprint("theirs")),
            batch: Some(batch),
            until: None,
        }
    }

    fn stored(batch: i64) -> LastOutcome {
        LastOutcome {
            state: TokenState::Committed,
            run: 1,
            fingerprint: Some(fingerprint("mine")),
            version: Version::new(Some(5)),
            batch: Some(batch),
            since: None,
            outdated: None,
            destination: None,
        }
    }

    #[test]
    fn the_newer_of_two_is_told_by_versions_alone() {
        for (theirs, mine, newer, incomparable) in [
            (Some(6), Some(5), true, false),
            (Some(4), Some(5), false, false),
            (Some(5), Some(5), false, true),
            (None, Some(5), false, true),
            (Some(5), None, false, true),
            (None, None, false, true),
        ] {
            let siblings = [sibling(theirs, 3)];
            let standing = standing(&siblings, Version::new(mine), Some(fingerprint("mine")), None);
            assert_eq!(
                (standing.newer.is_some(), standing.incomparable.is_some()),
                (newer, incomparable),
                "{theirs:?} {mine:?}"
            );
            assert!(!standing.overwritten);
        }
    }

    #[test]
    fn what_was_sent_later_is_what_is_there() {
        let siblings = [sibling(Some(4), 3)];
        let overwritten = |batch| {
            standing(
                &siblings,
                Version::new(Some(5)),
                Some(fingerprint("mine")),
                Some(&stored(batch)),
            )
            .overwritten
        };
        assert!(overwritten(2));
        assert!(!overwritten(4));
    }

    #[test]
    fn a_batch_that_had_to_wait_may_have_arrived_last_whatever_its_number() {
        let at = |second| chrono::DateTime::from_timestamp(second, 0);
        for (until, since, expected) in [(9, 5, true), (4, 5, false)] {
            let siblings = [SiblingToken {
                until: at(until),
                ..sibling(Some(4), 3)
            }];
            let row = LastOutcome {
                since: at(since),
                ..stored(4)
            };
            let standing = standing(
                &siblings,
                Version::new(Some(5)),
                Some(fingerprint("mine")),
                Some(&row),
            );
            assert_eq!(standing.overwritten, expected, "{until} {since}");
        }
    }

    #[test]
    fn the_very_same_token_is_no_conflict() {
        let siblings = [sibling(None, 9)];
        let standing = standing(
            &siblings,
            Version::default(),
            Some(fingerprint("theirs")),
            Some(&stored(2)),
        );
        assert!(standing.incomparable.is_none() && !standing.overwritten);
    }
}
