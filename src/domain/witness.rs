//! A witness: a token of a batch that, read back, can prove that all of the batch is stored.

use serde::{Deserialize, Serialize};

use super::{Evidence, Probe};
use crate::secret::Fingerprint;

/// Chosen before the batch leaves and kept in the batch's row, so that whichever process settles the batch asks in the same
/// way. Holds digests of the secrets, never the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The question.
    pub probe: Probe,
    /// The digest of the access token that was sent.
    pub access: Option<Fingerprint>,
    /// The digest of the refresh token that was sent.
    pub refresh: Option<Fingerprint>,
    /// What was sent beside them.
    pub attributes: Attributes,
    /// Which of these cannot have been there before.
    pub evidence: Evidence,
}

/// What goes up with a token beside its secrets and its destination, as far as the API shows it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// When the access token expires, in seconds since 1970; absent where that is not known.
    pub expiry: Option<i64>,
    /// The access token's type.
    pub token_type: Option<String>,
    /// Who granted the access.
    pub granted_by: Option<String>,
}

impl Witness {
    /// Whether reading it back changes nothing: it does not expire before `until`, in seconds since 1970. The API refreshes an
    /// expired token when it is fetched, which may end the copy that the old system still uses.
    #[must_use]
    pub fn lives_until(&self, until: i64) -> bool {
        self.attributes
            .expiry
            .is_none_or(|expiry| expiry == 0 || expiry > until)
    }
}
