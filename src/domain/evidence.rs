//! Evidence: what reading back a token can prove about its upload.
//!
//! A value proves an upload only if it cannot have been at its destination before. The ledger therefore keeps
//! a short digest of each part of a committed token that the API shows. A part whose digest differs now is
//! evidence.

use serde::{Deserialize, Serialize};

use crate::secret::{KINDS, Parts};

/// The ledger's knowledge of a destination before an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prior {
    /// This ledger never sent anything there.
    #[default]
    Nothing,
    /// Exactly this token was stored there last.
    Token(Parts),
    /// Something unknown may be there: one of several tokens, an earlier one, or one recorded before digests
    /// were kept.
    Unknown,
    /// After the last commit something else was sent, and its outcome is unknown.
    Unresolved,
}

/// The parts of a token that cannot have been at its destination before this upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each part tells by itself")]
pub struct Evidence {
    /// The access token.
    pub access: bool,
    /// The refresh token.
    pub refresh: bool,
    /// Expiry, type and grantor together.
    pub attributes: bool,
    /// The destination was empty.
    pub was_empty: bool,
}

impl Evidence {
    /// Returns the parts that prove an upload, given the earlier content of the destination.
    #[must_use]
    pub fn of(sent: Parts, prior: Prior) -> Self {
        let before = match prior {
            Prior::Unknown | Prior::Unresolved => return Self::default(),
            Prior::Nothing => Parts::default(),
            Prior::Token(before) => before,
        };
        let changed = |sent: u64, before: u64| sent != 0 && sent != before;
        let was_empty = prior == Prior::Nothing;
        Self {
            access: changed(sent.access, before.access),
            refresh: changed(sent.refresh, before.refresh),
            // At an empty destination the secrets are proof enough. Descope fills in an attribute that is
            // left out, so its change could not be seen.
            attributes: !was_empty
                && sent.attributes != before.attributes
                && before.attributes & KINDS & !sent.attributes == 0,
            was_empty,
        }
    }

    /// Returns true if anything can be proved.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.access || self.refresh || self.attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{PartsKey, SentAttributes};

    fn parts(access: Option<&str>, refresh: Option<&str>, attributes: SentAttributes<'_>) -> Parts {
        PartsKey::new(&[7; 16]).parts(access, refresh, attributes)
    }

    fn expiring(expiry: i32) -> SentAttributes<'static> {
        SentAttributes {
            expiry: Some(expiry),
            ..SentAttributes::default()
        }
    }

    #[test]
    fn only_what_changed_is_evidence() {
        let sent = parts(Some("a2"), Some("r"), expiring(5));
        let before = parts(Some("a1"), Some("r"), expiring(5));
        let access = Evidence {
            access: true,
            ..Evidence::default()
        };
        assert_eq!(Evidence::of(sent, Prior::Token(before)), access);
        assert!(!Evidence::of(sent, Prior::Token(sent)).is_any());
        assert!(!Evidence::of(sent, Prior::Unknown).is_any());
        assert!(!Evidence::of(sent, Prior::Unresolved).is_any());
        let new = Evidence::of(sent, Prior::Nothing);
        assert!(new.access && new.refresh && new.was_empty && !new.attributes);
    }

    #[test]
    fn attributes_are_evidence_only_where_the_change_can_be_seen() {
        let before = parts(Some("a"), Some("r"), expiring(5));
        let evidence =
            |attributes| Evidence::of(parts(Some("a"), Some("r"), attributes), Prior::Token(before));
        let later = evidence(expiring(6));
        assert!(later.attributes && !later.access && !later.refresh);
        let granted = SentAttributes {
            granted_by: Some("admin"),
            ..expiring(5)
        };
        assert!(evidence(granted).attributes, "one more is sent");
        let left_out = SentAttributes {
            expiry: None,
            ..granted
        };
        assert!(!evidence(left_out).is_any(), "one is not sent any more");
        assert!(!evidence(SentAttributes::default()).is_any());
    }

    #[test]
    fn a_secret_that_is_not_sent_proves_nothing() {
        let sent = parts(None, Some("r"), expiring(5));
        let before = parts(Some("a"), Some("r"), expiring(5));
        assert!(!Evidence::of(sent, Prior::Token(before)).is_any());
    }
}
