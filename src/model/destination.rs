//! Where a token goes.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::FixedState;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Whose token it is; the API has one set of endpoints for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A user's, with or without a tenant.
    User,
    /// A tenant's, without a user.
    Tenant,
}

impl Subject {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place a token has at Descope. Two rows with equal destinations overwrite each other there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Whose token it is.
    pub subject: Subject,
    /// The outbound app's ID.
    pub app_id: String,
    /// The user, for a user token.
    pub user_id: Option<String>,
    /// The tenant; optional for a user token, required for a tenant token.
    pub tenant_id: Option<String>,
    /// Tells several connections of one user or tenant to one app apart.
    pub external_identifier: Option<String>,
}

/// A destination in 16 bytes: what the ledger indexes and what is kept in memory while a token is on its way.
/// Truncated SHA-256, so two destinations do not collide in any table this tool will meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId([u8; 16]);

impl DestinationId {
    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From the stored form; `None` if it has another length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// (app, user) or (app, tenant), letter case set aside: all by which the API names a failed item, and it may name an id in
/// another case than it was sent. A hash, so two that collide are merely kept apart without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(u64);

impl Destination {
    /// The ID of this destination.
    #[must_use]
    pub fn id(&self) -> DestinationId {
        let mut hash = Sha256::new();
        hash.update(self.subject.as_str());
        let fields = [
            Some(&self.app_id),
            self.user_id.as_ref(),
            self.tenant_id.as_ref(),
            self.external_identifier.as_ref(),
        ];
        for field in fields {
            // Length first, so that no two lists of fields give the same bytes; absent differs from empty.
            match field {
                None => hash.update([0]),
                Some(text) => {
                    hash.update([1]);
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        DestinationId(id)
    }

    /// The identity of this destination.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut hasher = HASHES.build_hasher();
        self.subject.hash(&mut hasher);
        hash_without_case(&self.app_id, &mut hasher);
        hash_without_case(self.subject_id(), &mut hasher);
        Identity(hasher.finish())
    }

    /// What selects among the tokens of one identity, as hashes: the tenant of a user token, and the external identifier.
    #[must_use]
    pub fn qualifiers(&self) -> (Option<u64>, Option<u64>) {
        let hashed = |text: &Option<String>| text.as_ref().map(|text| HASHES.hash_one(text));
        (hashed(&self.tenant_id), hashed(&self.external_identifier))
    }

    /// The ID by which the API names a failed item: the user of a user token, the tenant of a tenant token.
    #[must_use]
    pub fn subject_id(&self) -> &str {
        match self.subject {
            Subject::User => self.user_id.as_deref(),
            Subject::Tenant => self.tenant_id.as_deref(),
        }
        .unwrap_or_default()
    }
}

/// The same in all threads of a process: hashes of different tokens are compared.
const HASHES: FixedState = FixedState::with_seed(0);

/// Nearly all IDs are ASCII, and need no text made of them in lower case.
fn hash_without_case(text: &str, hasher: &mut impl Hasher) {
    const PART: usize = 64;
    if text.is_ascii() {
        for part in text.as_bytes().chunks(PART) {
            let mut lower = [0; PART];
            let lower = &mut lower[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            hasher.write(lower);
        }
    } else {
        // In the same parts: what is not ASCII may be so in lower case.
        for part in text.to_lowercase().as_bytes().chunks(PART) {
            hasher.write(part);
        }
    }
    hasher.write_u8(0xff);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(app: &str, user: &str, tenant: Option<&str>) -> Destination {
        Destination {
            subject: Subject::User,
            app_id: app.into(),
            user_id: Some(user.into()),
            tenant_id: tenant.map(Into::into),
            external_identifier: None,
        }
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(user("ab", "c", None).id(), user("a", "bc", None).id());
        assert_ne!(user("a", "b", None).id(), user("a", "b", Some("")).id());
        assert_eq!(user("a", "b", Some("t")).id(), user("a", "b", Some("t")).id());
    }

    #[test]
    fn an_identity_has_no_letter_case() {
        let identity = |app, id: &str| user(app, id, None).identity();
        let long = "Ab".repeat(100);
        for (one, other) in [("U1x", "u1X"), ("\u{dc}", "\u{fc}"), ("\u{212a}1", "k1")] {
            assert_eq!(identity("App", one), identity("aPP", other), "{one}");
        }
        assert_eq!(identity("a", &long), identity("a", &long.to_lowercase()));
        assert_ne!(identity("a", &long), identity("a", &long[1..]));
        assert_ne!(identity("ab", "c"), identity("a", "bc"));
    }
}
