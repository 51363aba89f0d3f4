//! A valid token on its way.

use std::{fmt, ops::Range};

use bytes::Bytes;

use super::{Destination, DestinationId, Evidence, Identity, SourceKey, Version};
use crate::secret::{Fingerprint, Parts, ZeroizingBuf};

/// Tokens that were encoded one behind the other. A page of them is then one piece of memory, and not thousands that are
/// taken on one thread and given back on another.
#[derive(Clone)]
pub struct EncodedPage(Bytes);

impl EncodedPage {
    /// Takes what was encoded.
    #[must_use]
    pub fn new(encoded: ZeroizingBuf) -> Self {
        Self(Bytes::from_owner(encoded))
    }

    /// The token that stands there.
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

/// A token as one element of the request's `tokens` array, encoded once. Wiped when the last token of its sheet is dropped.
#[derive(Clone)]
pub struct EncodedToken(Bytes);

impl EncodedToken {
    /// Takes finished JSON.
    #[must_use]
    pub fn new(json: impl Into<ZeroizingBuf>) -> Self {
        Self(Bytes::from_owner(json.into()))
    }

    /// Lets go of the sheet: a token that stays for long must not keep all the others in memory.
    pub fn detach(&mut self) {
        let mut own = ZeroizingBuf::with_capacity(self.len());
        own.extend(self.reveal());
        *self = Self::new(own);
    }

    /// Lets go of the bytes: they are needed no more.
    pub fn forget(&mut self) {
        self.0 = Bytes::new();
    }

    /// The JSON bytes, tokens included.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
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

/// A token that passed validation: it has a destination, is encoded, and waits to be sent.
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
    /// Digests of what is sent, by which a later upload to the same destination is told apart.
    pub parts: Parts,
    /// What of it cannot have been at the destination before.
    pub evidence: Evidence,
    /// The ledger holds no outcome of the row yet.
    pub is_new: bool,
    /// A row that was committed for the same destination before, and is superseded once this one is committed.
    pub replaces: Option<SourceKey>,
    /// What is sent.
    pub encoded: EncodedToken,
}

impl Item {
    /// Whether it can prove that its batch is stored, and be read back without making the API refresh it: its access token
    /// does not expire before `readable_until`, in seconds since 1970.
    #[must_use]
    pub fn can_testify(&self, readable_until: i64) -> bool {
        self.evidence.is_any() && self.alive_until() > readable_until
    }

    /// When it expires, in seconds since 1970; never, as far as is known, where the source does not say.
    #[must_use]
    pub fn alive_until(&self) -> i64 {
        self.expiry
            .filter(|&expiry| expiry != 0)
            .map_or(i64::MAX, i64::from)
    }

    /// A new token on its way there, with nothing in it.
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
