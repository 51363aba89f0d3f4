//! An item: a valid, encoded token.

use std::{fmt, ops::Range};

use bytes::Bytes;

use super::{Destination, DestinationId, Evidence, Identity, SourceKey, Version};
use crate::secret::{Fingerprint, Parts, ZeroizingBuf};

/// The tokens of a page, encoded one after another. One allocation per page instead of thousands that are
/// made on one thread and freed on another.
#[derive(Clone)]
pub struct EncodedPage(Bytes);

impl EncodedPage {
    /// Takes the encoded bytes.
    #[must_use]
    pub fn new(encoded: ZeroizingBuf) -> Self {
        Self(Bytes::from_owner(encoded))
    }

    /// Returns the token at this range.
    #[must_use]
    pub fn cut(&self, place: Range<usize>) -> EncodedToken {
        EncodedToken(self.0.slice(place))
    }
}

impl fmt::Debug for EncodedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes, redacted]", self.0.len())
    }
}

/// A token as one element of the request's `tokens` array, encoded once. Wiped when the last token of its
/// page is dropped.
#[derive(Clone)]
pub struct EncodedToken(Bytes);

impl EncodedToken {
    /// Takes finished JSON.
    #[must_use]
    pub fn new(json: impl Into<ZeroizingBuf>) -> Self {
        Self(Bytes::from_owner(json.into()))
    }

    /// Copies the token out of its page: a long-lived token must not keep the whole page in memory.
    pub fn detach(&mut self) {
        let mut own = ZeroizingBuf::with_capacity(self.len());
        own.extend(self.reveal());
        *self = Self::new(own);
    }

    /// Drops the bytes once they are no longer needed.
    pub fn forget(&mut self) {
        self.0 = Bytes::new();
    }

    /// Returns the JSON bytes, which contain the tokens.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes that this token adds to a request, without separators.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reveal().len()
    }

    /// Returns true if there are no bytes.
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

/// A token that passed validation and waits to be sent: it has a destination and is encoded.
#[derive(Debug, Clone)]
pub struct Item {
    /// The source row.
    pub key: SourceKey,
    /// The page it was read with. The cursor moves past a page once all of its items are settled.
    pub page: u64,
    /// The destination.
    pub destination: Destination,
    /// The destination's ID.
    pub destination_id: DestinationId,
    /// The identity by which the API names a failed item.
    pub identity: Identity,
    /// The version of the row among the rows of its destination.
    pub version: Version,
    /// The fingerprint that the ledger stores.
    pub fingerprint: Fingerprint,
    /// The expiry of the access token in seconds since 1970, if known.
    pub expiry: Option<i32>,
    /// Digests of the parts, for comparison with a later upload to the same destination.
    pub parts: Parts,
    /// The parts that cannot have been at the destination before.
    pub evidence: Evidence,
    /// The ledger has no outcome for the row yet.
    pub is_new: bool,
    /// An earlier committed row of the same destination, which is superseded once this one is committed.
    pub replaces: Option<SourceKey>,
    /// The bytes to send.
    pub encoded: EncodedToken,
}

impl Item {
    /// Returns true if reading back this token can prove that its batch is stored without making the API
    /// refresh it: its access token does not expire before `readable_until`, in seconds since 1970.
    #[must_use]
    pub fn can_testify(&self, readable_until: i64) -> bool {
        self.evidence.is_any() && self.alive_until() > readable_until
    }

    /// Returns the expiry in seconds since 1970, or the maximum if the source gives none.
    #[must_use]
    pub fn alive_until(&self) -> i64 {
        self.expiry
            .filter(|&expiry| expiry != 0)
            .map_or(i64::MAX, i64::from)
    }

    /// Builds an empty new token for this destination.
    #[cfg(test)]
    pub(crate) fn example(key: &str, destination: Destination) -> Self {
        let fingerprints = crate::secret::FingerprintKey::new(&[0; 32], None);
        let attributes = crate::secret::SentAttributes::default();
        Self {
            key: SourceKey::from(key),
            page: 0,
            destination_id: destination.id(),
            identity: destination.identity(),
            destination,
            version: Version::default(),
            fingerprint: fingerprints.fingerprint(&[]),
            expiry: None,
            parts: fingerprints.parts().parts(Some("at"), None, attributes),
            evidence: Evidence::default(),
            is_new: true,
            replaces: None,
            encoded: EncodedToken::new(Vec::new()),
        }
    }
}
