//! Login IDs, for sources without user IDs.

use std::fmt;

/// An e-mail address, phone number or name: personal data. `Debug` is redacted and there is no `Display`, so
/// that none ends up in a log or an error.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginId(Box<str>);

impl LoginId {
    /// The maximum length in bytes, far above any real login ID. The API's own limit is not published.
    pub const LONGEST: usize = 512;

    /// Returns the text. Called only to look it up, compare it or digest it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for LoginId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginId(…)")
    }
}

/// A row's login ID and the state of its lookup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Login {
    /// None, or not needed because the row has a user ID.
    #[default]
    Absent,
    /// A login ID that is not resolved yet, or that is not worth a lookup.
    Id(LoginId),
    /// A login ID whose user was found. The row now has the user's ID.
    Resolved(LoginId),
    /// A login ID whose user was not found.
    Unresolved(LoginId, Unresolved),
}

impl Login {
    /// Returns the login ID, if it is one that somebody could sign in with.
    #[must_use]
    pub fn id(&self) -> Option<&LoginId> {
        let login_id = match self {
            Self::Absent => return None,
            Self::Id(login_id) | Self::Resolved(login_id) | Self::Unresolved(login_id, _) => login_id,
        };
        let text = login_id.reveal();
        (!text.trim().is_empty() && text.len() <= LoginId::LONGEST).then_some(login_id)
    }
}

/// The reason why a login ID has no user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// No user has it.
    Unknown,
    /// More than one user has it.
    Ambiguous,
    /// The API rejects it as malformed, with this error code.
    Refused(String),
}
