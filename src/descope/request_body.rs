//! Request bodies.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    domain::{Batch, Call, EncodedToken, Item},
    secret::{BufferPool, Secret, ZeroizingBuf},
};

const OPEN: &[u8] = br#"{"tokens":["#;
const CLOSE: &[u8] = b"]}";

/// Size of the body of a batch without its tokens and the comma after each but the last.
pub const BODY_OVERHEAD: usize = OPEN.len() + CLOSE.len();

/// The replacement for the closing brace of a token. Only the single upload accepts the field; in a batch it
/// would be rejected.
const VERIFY: &[u8] = br#","verifyRefresh":true}"#;

/// Maximum size of the body of a single upload without its token.
pub const SINGLE_OVERHEAD: usize = VERIFY.len() - 1;

/// The secrets in an encoded token. They are rarely needed again: for a read-back, and to redact the text of
/// a refusal.
#[derive(Deserialize)]
pub(super) struct EncodedSecrets {
    #[serde(rename = "accessToken")]
    pub(super) access: Option<Secret>,
    #[serde(rename = "refreshToken")]
    pub(super) refresh: Option<Secret>,
    #[serde(rename = "idToken")]
    pub(super) id: Option<Secret>,
}

impl EncodedSecrets {
    pub(super) fn of(encoded: &EncodedToken) -> Option<Self> {
        serde_json::from_slice(encoded.reveal()).ok()
    }
}

/// The body of one batch, assembled once from encoded tokens. A retry sends the same bytes. They are wiped
/// when the last user drops them.
#[derive(Clone)]
pub struct RequestBody(Bytes);

impl RequestBody {
    /// Returns the body of a batch, in the form that its call requires.
    #[must_use]
    pub fn new(batch: &Batch, buffers: &Arc<BufferPool>) -> Self {
        // Allocated in full at once, so that nothing is copied while it grows.
        let mut body = ZeroizingBuf::pooled(buffers, Self::size(batch));
        for part in parts(batch) {
            body.extend(part);
        }
        Self(Bytes::from_owner(body))
    }

    /// Returns the size of the body of a batch, in bytes.
    #[must_use]
    pub fn size(batch: &Batch) -> usize {
        parts(batch).map(<[u8]>::len).sum()
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no bytes; a body has at least its envelope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// Returns the slices that make up a body.
fn parts(batch: &Batch) -> impl Iterator<Item = &[u8]> {
    let (open, separator, close): (&[u8], &[u8], &[u8]) = match batch.call {
        Call::Batch => (OPEN, b",", CLOSE),
        Call::Single => (b"", b"", b""),
    };
    let tokens = batch.items.iter().enumerate().flat_map(move |(position, item)| {
        let separator = if position > 0 { separator } else { b"" };
        let (token, end) = match batch.call {
            Call::Batch => (item.encoded.reveal(), &b""[..]),
            Call::Single => verified(item),
        };
        [separator, token, end]
    });
    std::iter::once(open).chain(tokens).chain(std::iter::once(close))
}

/// Returns the token with the instruction to verify it in place of its closing brace. Without a refresh token
/// there is nothing to verify.
fn verified(item: &Item) -> (&[u8], &[u8]) {
    let encoded = item.encoded.reveal();
    match encoded.strip_suffix(b"}") {
        Some(open) if item.parts.has_refresh_token() => (open, VERIFY),
        _ => (encoded, b""),
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestBody([{} bytes, redacted])", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        descope::encode,
        domain::{Destination, LegacyToken, SourceKey, Subject},
        secret::{FingerprintKey, SentAttributes},
    };

    fn token() -> LegacyToken {
        let mut token = LegacyToken::empty(SourceKey::from("1"));
        token.access_token = Some(Secret::new("a\"1"));
        token
    }

    fn destination() -> Destination {
        Destination::user("google", "U1")
    }

    fn batch(call: Call, token: &LegacyToken, count: usize) -> Batch {
        let destination = destination();
        let encoded = encode(token, &destination, None);
        let item = Item {
            parts: FingerprintKey::new(&[0; 32], None).parts().parts(
                token.access_token.as_ref().map(Secret::reveal),
                token.refresh_token.as_ref().map(Secret::reveal),
                SentAttributes::default(),
            ),
            encoded,
            ..Item::example(token.key.as_str(), destination)
        };
        Batch {
            subject: Subject::User,
            call,
            items: vec![item; count],
            parent: None,
        }
    }

    #[test]
    fn a_body_is_exactly_as_long_as_the_chunker_counts() {
        for count in 1..4 {
            let batch = batch(Call::Batch, &token(), count);
            let body = RequestBody::new(&batch, &Arc::default());
            assert_eq!(body.len(), RequestBody::size(&batch));
            let one = batch.items[0].encoded.len();
            assert_eq!(body.len(), BODY_OVERHEAD + count * one + (count - 1));
            assert!(serde_json::from_slice::<serde_json::Value>(&body.bytes()).is_ok());
        }
    }

    #[test]
    fn a_single_upload_is_the_token_with_the_order_to_verify_what_can_be_verified() {
        let mut token = token();
        let plain = batch(Call::Single, &token, 1);
        assert_eq!(
            RequestBody::new(&plain, &Arc::default()).bytes(),
            plain.items[0].encoded.reveal()
        );

        token.refresh_token = Some(Secret::new("r}"));
        let verified = batch(Call::Single, &token, 1);
        let body = RequestBody::new(&verified, &Arc::default());
        assert_eq!(
            body.bytes(),
            &br#"{"appId":"google","userId":"U1","refreshToken":"r}","accessToken":"a\"1","verifyRefresh":true}"#[..]
        );
        assert_eq!(body.len(), RequestBody::size(&verified));
        assert_eq!(body.len(), verified.items[0].encoded.len() + SINGLE_OVERHEAD);
    }

    #[test]
    fn debug_shows_no_token() {
        let batch = batch(Call::Batch, &token(), 1);
        let text = format!(
            "{:?} {:?}",
            batch.items[0].encoded,
            RequestBody::new(&batch, &Arc::default())
        );
        assert!(
            !text.contains("a\\\"1") && !text.contains("accessToken"),
            "{text}"
        );
    }
}
