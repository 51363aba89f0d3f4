//! A value as the source holds it, and what stands in columns beside it.

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
