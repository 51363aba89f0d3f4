//! A value as the source holds it, and what stands in columns beside it.

use crate::domain::DecryptFailure;

/// A stored value.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// Of a text or JSON column.
    Text(&'a str),
    /// Of a bytea column.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value as text, if it is one.
    pub(super) fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        }
    }
}

/// The reason why a value is not opened: with the mark of its format, it is a damaged one, and never plain.
pub(super) fn marked(has_mark: bool, why: DecryptFailure) -> DecryptFailure {
    match why {
        DecryptFailure::NotEncrypted if has_mark => DecryptFailure::Damaged,
        why => why,
    }
}

/// Tells whether a JSON, or the beginning of one, is an object whose first member has one of these names.
pub(super) fn begins_with_member(json: &str, names: &[&str]) -> bool {
    let Some(behind) = json.trim_start().strip_prefix('{') else {
        return false;
    };
    let Some(behind) = behind.trim_start().strip_prefix('"') else {
        return false;
    };
    let first = behind.split('"').next().unwrap_or_default();
    names.contains(&first)
}

/// A part of a sealed value that is in a column of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Companion {
    /// The nonce, or IV.
    Nonce,
    /// The authentication tag.
    Tag,
    /// The salt of the key.
    Salt,
    /// What the key or the associated data depend on.
    Context,
}

impl Companion {
    /// All of them, in the order in which they travel.
    pub const ALL: [Self; 4] = [Self::Nonce, Self::Tag, Self::Salt, Self::Context];

    /// Returns its key in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nonce => "nonce",
            Self::Tag => "tag",
            Self::Salt => "salt",
            Self::Context => "context",
        }
    }
}

/// The companions of a value; `None` where a column is null, or there is none.
#[derive(Default)]
pub(super) struct Companions {
    pub(super) nonce: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) salt: Option<String>,
    pub(super) context: Option<String>,
}
