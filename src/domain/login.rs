//! Login IDs, for sources that do not know user IDs.

use std::fmt;

/// An e-mail address, a phone number, a name: personal data. `Debug` is redacted and there is no `Display`, so that none
/// gets into a log or an error.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginId(Box<str>);

impl LoginId {
    /// Far longer than what anybody signs in with, in bytes. The API's own limit is not published.
    pub const LONGEST: usize = 512;

    /// The text itself. Called only where it is asked about, compared or digested.
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

/// What a row says of its user beside the user's ID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Login {
    /// Nothing, or nothing that is needed: the row has the ID.
    #[default]
    Absent,
    /// A login ID, whose user is still to be found; or one that is not worth asking about.
    Id(LoginId),
    /// A login ID whose user was found: the row has the ID now.
    Resolved(LoginId),
    /// A login ID whose user was not found.
    Unresolved(LoginId, Unresolved),
}

impl Login {
    /// The login ID, if the row has one that anybody could sign in with.
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

/// Why the user of a login ID was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// No user has it.
    Unknown,
    /// More than one user has it.
    Ambiguous,
    /// The API does not take it for a login ID; its error code.
    Refused(String),
}
