//! A row of the source, as it was read.

use std::{fmt, sync::Arc};

use smol_str::SmolStr;

use super::Login;
use crate::secret::Secret;

/// The key of a source row, in its text form (`42`, a uuid, or the text itself). A short one takes no memory beside its own
/// place, and a long one is shared by its copies.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(SmolStr);

impl SourceKey {
    /// The key as Postgres prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this key is the later of the two. Integers compare as numbers, everything else byte by byte;
    /// it decides only between rows of one destination that carry the same `updated_at`.
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        match (self.0.parse::<i64>(), other.0.parse::<i64>()) {
            (Ok(mine), Ok(theirs)) => mine > theirs,
            _ => self.0 > other.0,
        }
    }
}

impl From<&str> for SourceKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl From<String> for SourceKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How new a row is: its `updated_at` in microseconds since 1970, or, where that column is a number, the number.
/// A row without one is older than every row that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(Option<i64>);

impl Version {
    /// A version from its stored form; `None` where the source says nothing.
    #[must_use]
    pub fn new(value: Option<i64>) -> Self {
        Self(value)
    }

    /// The stored form.
    #[must_use]
    pub fn get(self) -> Option<i64> {
        self.0
    }

    /// Whether it is certain that this is the older one of two versions of one row: rows without one cannot be compared.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        matches!((self.0, other.0), (Some(mine), Some(theirs)) if mine < theirs)
    }
}

/// When the access token expires, as far as the source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// The source has no expiry for this row; the API then treats it as unknown.
    #[default]
    Unknown,
    /// Whole seconds since 1970, not yet checked against what the API takes.
    At(i64),
    /// The token does not expire, as the source says it: an infinity, -1, or the year 9999.
    Never,
    /// There is a value, and it is no point in time.
    Unreadable,
}

/// The scopes the token was granted, as far as the source says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scopes {
    /// The source has no scopes for this row; the field is then left out.
    #[default]
    Absent,
    /// The scopes in the order of the source. Many rows share one list.
    Listed(Arc<[String]>),
    /// There is a value, and it is not a list of scopes.
    Unreadable,
}

/// A value that stayed encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecryptError {
    /// The key under `[source.columns]`.
    pub field: &'static str,
    /// Why it could not be opened.
    pub why: DecryptFailure,
}

/// Why a value could not be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecryptFailure {
    /// It does not look as the method writes it: perhaps it never was encrypted.
    NotEncrypted,
    /// It looks right, and no key opens it: it was encrypted with another one, or changed since.
    NoKeyFits,
    /// It was opened, and is no text.
    NotText,
    /// The database should have done it, and could not.
    ByDatabase,
}

/// A field whose value could not be had; the token lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The last part of the field's key.
    pub field: &'static str,
    /// Where the row's token goes, and whether another one is newer, cannot be told without it.
    pub decides_place: bool,
    /// Why it could not be had.
    pub cause: UnreadableCause,
}

/// Why a value could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableCause {
    /// The database fails on it.
    DatabaseError,
    /// It is larger than any that is read.
    TooLarge,
}

/// One legacy token as the source holds it. Empty texts were read as absent; nothing else was judged yet.
#[derive(Debug, Clone)]
pub struct LegacyToken {
    /// The row's key.
    pub key: SourceKey,
    /// The legacy name of the provider or app.
    pub app: Option<Arc<str>>,
    /// The Descope user the token belongs to.
    pub user_id: Option<String>,
    /// What else the row says of that user.
    pub login: Login,
    /// The Descope tenant the token belongs to, alone or beside the user.
    pub tenant_id: Option<String>,
    /// Whose token Descope is to be asked for, where it keeps it.
    pub provider: Option<Arc<str>>,
    /// The provider's access token.
    pub access_token: Option<Secret>,
    /// The provider's refresh token.
    pub refresh_token: Option<Secret>,
    /// The provider's ID token.
    pub id_token: Option<Secret>,
    /// When the access token expires.
    pub expiry: Expiry,
    /// The token's type, mostly `Bearer`.
    pub access_token_type: Option<Arc<str>>,
    /// The granted scopes.
    pub scopes: Scopes,
    /// Tells several connections of one user to one app apart.
    pub external_identifier: Option<String>,
    /// Who granted the access.
    pub granted_by: Option<String>,
    /// Which of two rows for one destination is the newer.
    pub version: Version,
    /// A value that should have been decrypted and was not; the token lacks it.
    pub sealed: Option<DecryptError>,
    /// A value that could not be had at all.
    pub unreadable: Option<Unreadable>,
}

impl LegacyToken {
    /// A row that holds nothing but its key.
    #[must_use]
    pub fn empty(key: SourceKey) -> Self {
        Self {
            key,
            app: None,
            user_id: None,
            login: Login::Absent,
            tenant_id: None,
            provider: None,
            access_token: None,
            refresh_token: None,
            id_token: None,
            expiry: Expiry::Unknown,
            access_token_type: None,
            scopes: Scopes::Absent,
            external_identifier: None,
            granted_by: None,
            version: Version::default(),
            sealed: None,
            unreadable: None,
        }
    }

    /// Notes a field that the token lacks: the first, but one that decides its place before others.
    pub fn note_unreadable(&mut self, unreadable: Unreadable) {
        if self
            .unreadable
            .is_none_or(|noted| unreadable.decides_place && !noted.decides_place)
        {
            self.unreadable = Some(unreadable);
        }
    }

    /// Whether the row itself holds a token that can go up.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.access_token.is_some() || self.refresh_token.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_keys_compare_as_numbers_and_texts_byte_by_byte() {
        let after = |a: &str, b: &str| SourceKey::from(a).is_after(&SourceKey::from(b));
        assert!(after("10", "9"));
        assert!(!after("9", "10"));
        assert!(after("b10", "b09"));
        assert!(!after("same", "same"));
    }

    #[test]
    fn a_row_without_a_version_is_older_than_any_with_one() {
        assert!(Version::new(Some(i64::MIN)) > Version::new(None));
    }
}
