//! A valid token on its way.

use std::fmt;

use super::{Destination, DestinationId, Fingerprint, Identity, SourceKey, Version, Wiped};

/// A token as one element of the request's `tokens` array, encoded once. Wiped on drop.
#[derive(Clone)]
pub struct EncodedToken(Wiped);

impl EncodedToken {
    /// Takes finished JSON.
    #[must_use]
    pub fn new(json: Vec<u8>) -> Self {
        Self(json.into())
    }

    /// The JSON bytes, tokens included.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// How many bytes this token adds to a request, separators not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reveal().len()
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reveal().is_empty()
    }
}

impl fmt::Debug for EncodedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes, redacted]", self.reveal().len())
    }
}

/// A token that passed the screen: it has a destination, is encoded, and waits to be sent.
#[derive(Debug, Clone)]
pub struct Item {
    /// The source row.
    pub key: SourceKey,
    /// The page it was read with; the cursor moves past a page when all of its items are settled.
    pub page: u64,
    /// Where it goes.
    pub destination: Destination,
    /// The same in 16 bytes.
    pub destination_id: DestinationId,
    /// What the API would name it by.
    pub identity: Identity,
    /// How new the row is among those of its destination.
    pub version: Version,
    /// What the ledger will remember of it.
    pub fingerprint: Fingerprint,
    /// When the access token expires, in seconds since 1970, as far as it is known.
    pub expiry: Option<i32>,
    /// An access token is sent.
    pub has_access_token: bool,
    /// A refresh token is sent.
    pub has_refresh_token: bool,
    /// The ledger holds no outcome of the row yet.
    pub is_new: bool,
    /// A row that was committed for the same destination before, and is superseded once this one is committed.
    pub replaces: Option<SourceKey>,
    /// What is sent.
    pub encoded: EncodedToken,
}
