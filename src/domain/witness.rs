//! A witness: a token of a batch that, read back, can prove that the whole batch is stored.

use serde::{Deserialize, Serialize};

use super::{Evidence, Probe};
use crate::secret::Fingerprint;

/// Chosen before the batch is sent and kept in its row, so that any process that reconciles the batch reads
/// back the same way. Contains digests of the secrets, never the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The request that reads it back.
    pub probe: Probe,
    /// The digest of the access token that was sent.
    pub access: Option<Fingerprint>,
    /// The digest of the refresh token that was sent.
    pub refresh: Option<Fingerprint>,
    /// The other fields that were sent.
    pub attributes: Attributes,
    /// The parts that cannot have been there before.
    pub evidence: Evidence,
}

/// The fields sent with a token besides secrets and destination, if the API shows them again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// The expiry of the access token in seconds since 1970, if known.
    pub expiry: Option<i64>,
    /// The access token's type.
    pub token_type: Option<String>,
    /// The person who granted the access.
    pub granted_by: Option<String>,
}

impl Witness {
    /// Returns true if reading it back changes nothing: it does not expire before `until`, in seconds since
    /// 1970. The API refreshes an expired token when it is fetched, which may invalidate the copy of the old
    /// system.
    #[must_use]
    pub fn lives_until(&self, until: i64) -> bool {
        self.attributes
            .expiry
            .is_none_or(|expiry| expiry == 0 || expiry > until)
    }
}
