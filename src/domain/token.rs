//! A source row as it was read.

use std::{fmt, sync::Arc};

use smol_str::SmolStr;

use super::{Login, begins_like_a_token};
use crate::secret::Secret;

/// Shorter texts, in bytes, may occur in another one by chance.
const SHORTEST_TOKEN: usize = 12;

/// The key of a source row in text form: `42`, a UUID, the text itself, or a JSON array of these if the key
/// has several columns. A short key needs no allocation, and copies of a long one share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(SmolStr);

impl SourceKey {
    /// Returns the key as Postgres prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if this key comes after the other. Integers compare as numbers, everything else by byte.
    /// Decides only between rows of one destination with the same `updated_at`.
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        match (self.0.parse::<i128>(), other.0.parse::<i128>()) {
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

/// The version of a row: its `updated_at` in microseconds since 1970, or the number if the column is numeric.
/// A row without a version is older than every row with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(Option<i64>);

impl Version {
    /// Builds a version from its stored form; `None` if the source has none.
    #[must_use]
    pub fn new(value: Option<i64>) -> Self {
        Self(value)
    }

    /// Returns the stored form.
    #[must_use]
    pub fn get(self) -> Option<i64> {
        self.0
    }

    /// Returns true if this version is certainly older than the other. Rows without a version cannot be
    /// compared.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        matches!((self.0, other.0), (Some(mine), Some(theirs)) if mine < theirs)
    }
}

/// The expiry of the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// The source has no expiry for this row. The API then treats it as unknown.
    #[default]
    Unknown,
    /// Whole seconds since 1970, not yet checked against the API's range.
    At(i64),
    /// The token does not expire: the source says infinity, -1 or the year 9999.
    Never,
    /// A value that is not a point in time.
    Unreadable,
}

/// The scopes that the token was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scopes {
    /// The source has no scopes for this row; the field is left out.
    #[default]
    Absent,
    /// The scopes in the order of the source, shared between rows with the same list.
    Listed(Arc<[String]>),
    /// A value that is not a list of scopes.
    Unreadable,
}

/// A value that could not be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecryptError {
    /// The key under `[source.columns]`.
    pub field: &'static str,
    /// The reason.
    pub why: DecryptFailure,
}

/// The reason why a value could not be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecryptFailure {
    /// It does not have the format of the method, so it may never have been encrypted.
    NotEncrypted,
    /// The format is right but no key decrypts it: it was encrypted with another key, or changed since.
    NoKeyFits,
    /// No key decrypts it, and without its encoding it is readable: it may never have been encrypted.
    OnlyEncoded,
    /// It names a key that is not configured.
    UnknownKey,
    /// It begins like the format, but is incomplete, changed, or of another version.
    Damaged,
    /// It was decrypted but is not text.
    NotText,
    /// The database was to decrypt it and failed.
    ByDatabase,
}

/// A field whose value could not be read; the token lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The last part of the field's key.
    pub field: &'static str,
    /// The token's destination, or whether another token is newer, is unknown without it.
    pub decides_place: bool,
    /// The reason.
    pub cause: UnreadableCause,
}

/// The reason why a value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableCause {
    /// The database fails on it.
    DatabaseError,
    /// It exceeds the size limit.
    TooLarge,
    /// It is no JSON.
    NotJson,
    /// It is no form-encoded text.
    NotForm,
    /// It is an array, an object, true or false in place of a text.
    NotScalar,
    /// It could not be decrypted.
    NotDecrypted(DecryptFailure),
}

/// One legacy token as the source has it. Empty texts are read as absent; nothing else has been validated
/// yet.
#[derive(Debug, Clone)]
pub struct LegacyToken {
    /// The row's key.
    pub key: SourceKey,
    /// The legacy name of the provider or app.
    pub app: Option<Arc<str>>,
    /// The Descope user the token belongs to.
    pub user_id: Option<String>,
    /// The login ID and the state of its lookup.
    pub login: Login,
    /// The Descope tenant the token belongs to, alone or beside the user.
    pub tenant_id: Option<String>,
    /// The provider whose token Descope stores and is asked for.
    pub provider: Option<Arc<str>>,
    /// The provider's access token.
    pub access_token: Option<Secret>,
    /// The provider's refresh token.
    pub refresh_token: Option<Secret>,
    /// The provider's ID token.
    pub id_token: Option<Secret>,
    /// When the access token expires.
    pub expiry: Expiry,
    /// The token's type, usually `Bearer`.
    pub access_token_type: Option<Arc<str>>,
    /// The granted scopes.
    pub scopes: Scopes,
    /// Distinguishes several connections of one user to one app.
    pub external_identifier: Option<String>,
    /// The person who granted the access.
    pub granted_by: Option<String>,
    /// Decides which of two rows for one destination is newer.
    pub version: Version,
    /// A value that was not decrypted; the token lacks it.
    pub sealed: Option<DecryptError>,
    /// A value that could not be read at all.
    pub unreadable: Option<Unreadable>,
    /// A value of an encrypted column was plain, and accepted as such.
    pub is_plain: bool,
}

impl LegacyToken {
    /// Returns a row that has only a key.
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
            is_plain: false,
        }
    }

    /// Records an unreadable field: the first one, unless a later one decides the destination.
    pub fn note_unreadable(&mut self, unreadable: Unreadable) {
        if self
            .unreadable
            .is_none_or(|noted| unreadable.decides_place && !noted.decides_place)
        {
            self.unreadable = Some(unreadable);
        }
    }

    /// Returns true if the row itself has a token to upload.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.access_token.is_some() || self.refresh_token.is_some()
    }

    /// Returns true if a text contains one of the row's own tokens, or starts like a well-known token. It is
    /// never shown then, whatever its column was mapped to.
    #[must_use]
    pub fn is_within(&self, text: &str) -> bool {
        let holds = |secret: &Secret| {
            let secret = secret.reveal();
            secret.len() >= SHORTEST_TOKEN && text.len() >= secret.len() && text.contains(secret)
        };
        let own = [&self.access_token, &self.refresh_token, &self.id_token];
        own.into_iter().flatten().any(holds) || begins_like_a_token(text)
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
