//! Destinations: the places of tokens at Descope.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ScopeSet;

/// The kind of owner; the API has one set of endpoints for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A user's, with or without a tenant.
    User,
    /// A tenant's, without a user.
    Tenant,
}

impl Subject {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Tenant];

    /// Returns the word that the ledger stores.
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

/// A token's place at Descope: everything by which the API distinguishes two tokens. Rows with equal
/// destinations overwrite each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The kind of owner.
    pub subject: Subject,
    /// The outbound app's ID.
    pub app_id: String,
    /// The user, for a user token.
    pub user_id: Option<String>,
    /// The tenant; optional for a user token, required for a tenant token.
    pub tenant_id: Option<String>,
    /// Distinguishes several connections of one user or tenant to one app.
    pub external_identifier: Option<String>,
    /// The scopes. Tokens of one owner with different scopes are separate tokens.
    pub scopes: ScopeSet,
}

/// A destination in 16 bytes, for the ledger's indexes and for memory. A truncated SHA-256: collisions are
/// practically impossible at any table size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId([u8; 16]);

impl DestinationId {
    /// Returns the stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of(hash: Sha256) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }

    /// Parses the stored form; `None` if the length is wrong.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The (app, user) or (app, tenant) by which the API names a failed item, ignoring case, since the API may
/// change the case of an ID. A hash: a collision only keeps two tokens apart without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(u64);

impl Destination {
    /// Returns the destination of a user token.
    pub fn user(app_id: impl Into<String>, user_id: impl Into<String>) -> Self {
        Self {
            subject: Subject::User,
            app_id: app_id.into(),
            user_id: Some(user_id.into()),
            tenant_id: None,
            external_identifier: None,
            scopes: ScopeSet::default(),
        }
    }

    /// Returns the destination of a tenant token.
    pub fn tenant(app_id: impl Into<String>, tenant_id: impl Into<String>) -> Self {
        Self {
            subject: Subject::Tenant,
            app_id: app_id.into(),
            user_id: None,
            tenant_id: Some(tenant_id.into()),
            external_identifier: None,
            scopes: ScopeSet::default(),
        }
    }

    /// Returns the destination with the tenant of a user token.
    #[must_use]
    pub fn in_tenant(self, tenant_id: Option<String>) -> Self {
        Self { tenant_id, ..self }
    }

    /// Returns the destination with an external identifier.
    #[must_use]
    pub fn identified_by(self, external_identifier: Option<String>) -> Self {
        Self {
            external_identifier,
            ..self
        }
    }

    /// Returns the destination with scopes.
    #[must_use]
    pub fn with_scopes(self, scopes: ScopeSet) -> Self {
        Self { scopes, ..self }
    }

    /// Returns the ID of this destination.
    #[must_use]
    pub fn id(&self) -> DestinationId {
        let mut hash = self.hash_without_scopes();
        for scope in self.scopes.as_slice() {
            hash_field(&mut hash, Some(scope));
        }
        DestinationId::of(hash)
    }

    /// Returns the ID that earlier versions used, which ignored scopes. Equal to [`id`](Self::id) if there
    /// are none.
    #[must_use]
    pub fn id_without_scopes(&self) -> DestinationId {
        DestinationId::of(self.hash_without_scopes())
    }

    fn hash_without_scopes(&self) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(self.subject.as_str());
        let fields = [
            Some(&self.app_id),
            self.user_id.as_ref(),
            self.tenant_id.as_ref(),
            self.external_identifier.as_ref(),
        ];
        for field in fields {
            hash_field(&mut hash, field);
        }
        hash
    }

    /// Returns the identity of this destination.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut hasher = HASHES.build_hasher();
        self.subject.hash(&mut hasher);
        hash_without_case(&self.app_id, &mut hasher);
        hash_without_case(self.subject_id(), &mut hasher);
        Identity(hasher.finish())
    }

    /// Returns hashes of the fields that select among the tokens of one identity: the tenant of a user token,
    /// and the external identifier.
    #[must_use]
    pub fn qualifiers(&self) -> (Option<u64>, Option<u64>) {
        let hashed = |text: &Option<String>| text.as_ref().map(|text| HASHES.hash_one(text));
        (hashed(&self.tenant_id), hashed(&self.external_identifier))
    }

    /// Returns the ID by which the API names a failed item: the user of a user token, the tenant of a tenant
    /// token.
    #[must_use]
    pub fn subject_id(&self) -> &str {
        match self.subject {
            Subject::User => self.user_id.as_deref(),
            Subject::Tenant => self.tenant_id.as_deref(),
        }
        .unwrap_or_default()
    }
}

/// Hashes the length first, so that no two lists of fields give the same bytes. Absent differs from empty.
fn hash_field(hash: &mut Sha256, field: Option<&String>) {
    match field {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
}

/// A fixed seed: hashes are compared across threads.
const HASHES: FixedState = FixedState::with_seed(0);

/// Hashes without allocating a lowercase copy if the text is ASCII, as nearly all IDs are.
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
        // The same chunks as above: the lowercase form of a non-ASCII text may be ASCII.
        for part in text.to_lowercase().as_bytes().chunks(PART) {
            hasher.write(part);
        }
    }
    hasher.write_u8(0xff);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scopes;

    fn user(app: &str, user: &str, tenant: Option<&str>) -> Destination {
        Destination::user(app, user).in_tenant(tenant.map(Into::into))
    }

    fn scoped(scopes: &[&str]) -> Destination {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        user("a", "b", None).with_scopes(ScopeSet::of(&Scopes::Listed(scopes)))
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(user("ab", "c", None).id(), user("a", "bc", None).id());
        assert_ne!(user("a", "b", None).id(), user("a", "b", Some("")).id());
        assert_eq!(user("a", "b", Some("t")).id(), user("a", "b", Some("t")).id());
        assert_ne!(scoped(&["x", "y"]).id(), scoped(&["xy"]).id());
        assert_ne!(
            scoped(&["x"]).id(),
            user("a", "b", None).identified_by(Some("x".into())).id()
        );
    }

    #[test]
    fn scopes_make_a_destination_and_leave_no_trace_where_there_are_none() {
        assert_eq!(scoped(&["x", "y"]).id(), scoped(&["y", "x", "y"]).id());
        assert_eq!(scoped(&["x", "y"]), scoped(&["y", "x", "y"]));
        assert_ne!(scoped(&["x"]).id(), scoped(&["y"]).id());
        let bare = user("a", "b", None);
        assert_eq!(scoped(&[]), bare);
        // Pinned: ledgers of earlier versions store this ID.
        let stored = [
            0x08, 0x4c, 0xa1, 0xf2, 0x7d, 0xe9, 0xc8, 0x36, 0x36, 0xa8, 0x05, 0x23, 0xb4, 0x17, 0xd2, 0x89,
        ];
        assert_eq!(bare.id().as_bytes(), &stored);
        assert_eq!(scoped(&["x"]).id_without_scopes(), bare.id());
        assert_eq!(scoped(&["x"]).identity(), bare.identity());
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
