//! The bytes of a request.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Batch, Call, Destination, EncodedToken, Item, LegacyToken, Scopes, Secret, Wiped};

const OPEN: &[u8] = br#"{"tokens":["#;
const CLOSE: &[u8] = b"]}";

/// Bytes of a body beside its tokens and the comma after each but the last.
pub const BODY_OVERHEAD: usize = OPEN.len() + CLOSE.len();

/// Takes the place of a token's closing brace. Only the single upload knows the field; in a batch it would be refused.
const VERIFY: &[u8] = br#","verifyRefresh":true}"#;

/// The most bytes that a body has beside its token where that goes up by itself.
pub const SINGLE_OVERHEAD: usize = VERIFY.len() - 1;

/// `UserToken` and `TenantToken` of the upload endpoints: the latter is the former without `userId`. Absent fields are
/// left out, as the gateway rejects what it does not know.
///
/// The order of the fields is part of the ledger's format: fingerprints are taken over these bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireToken<'a> {
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_expiry: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_type: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    external_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_by: Option<&'a str>,
}

/// Encodes a token for its destination. `expiry` is in seconds since 1970; `None` lets the API treat it as unknown.
#[must_use]
pub fn encode(token: &LegacyToken, destination: &Destination, expiry: Option<i32>) -> EncodedToken {
    let secret = |secret: &'_ Option<Secret>| secret.as_ref().map_or(0, |secret| secret.reveal().len());
    let size = 320 + secret(&token.access_token) + secret(&token.refresh_token) + secret(&token.id_token);
    let wire = WireToken {
        app_id: &destination.app_id,
        user_id: destination.user_id.as_deref(),
        tenant_id: destination.tenant_id.as_deref(),
        refresh_token: token.refresh_token.as_ref().map(Secret::reveal),
        access_token: token.access_token.as_ref().map(Secret::reveal),
        access_token_expiry: expiry,
        access_token_type: token.access_token_type.as_deref(),
        scopes: match &token.scopes {
            Scopes::Listed(scopes) => scopes,
            Scopes::Absent | Scopes::Unreadable => &[],
        },
        external_identifier: destination.external_identifier.as_deref(),
        id_token: token.id_token.as_ref().map(Secret::reveal),
        granted_by: token.granted_by.as_deref(),
    };
    let mut json = Vec::with_capacity(size);
    // Writing strings and numbers to memory has no way to fail; were it to, an empty element would be refused by name.
    if serde_json::to_writer(&mut json, &wire).is_err() {
        json.clear();
    }
    EncodedToken::new(json)
}

/// The secrets inside of an encoded token, for the rare moments that need them again: reading one back, and keeping
/// them out of a refusal's text.
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

/// The body of one batch, put together once from what is encoded already; a retry sends the same bytes. Wiped when the last
/// user is done.
#[derive(Clone)]
pub struct RequestBody(Bytes);

impl RequestBody {
    /// The body that carries a batch by its call.
    #[must_use]
    pub fn new(batch: &Batch) -> Self {
        // Allocated in full at once: a buffer that grows leaves unwiped copies behind.
        let mut body = Wiped::with_capacity(Self::size(batch));
        for part in parts(batch) {
            body.extend(part);
        }
        Self(Bytes::from_owner(body))
    }

    /// How many bytes the body of a batch has.
    #[must_use]
    pub fn size(batch: &Batch) -> usize {
        parts(batch).map(<[u8]>::len).sum()
    }

    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes; a body has at least its envelope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// The stretches of bytes that make a body.
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

/// The token with the order to verify in place of its closing brace. Without a refresh token there is nothing to verify.
fn verified(item: &Item) -> (&[u8], &[u8]) {
    let encoded = item.encoded.reveal();
    match encoded.strip_suffix(b"}") {
        Some(open) if item.has_refresh_token => (open, VERIFY),
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
    use crate::model::{FingerprintKey, SourceKey, Subject, Version};

    fn token() -> LegacyToken {
        let mut token = LegacyToken::empty(SourceKey::from("1"));
        token.access_token = Some(Secret::new("a\"1"));
        token
    }

    fn destination() -> Destination {
        Destination {
            subject: Subject::User,
            app_id: "google".into(),
            user_id: Some("U1".into()),
            tenant_id: None,
            external_identifier: None,
        }
    }

    #[test]
    fn the_encoding_is_pinned_since_fingerprints_are_taken_over_it() {
        let least = encode(&token(), &destination(), None);
        assert_eq!(
            std::str::from_utf8(least.reveal()).unwrap(),
            r#"{"appId":"google","userId":"U1","accessToken":"a\"1"}"#
        );

        let mut token = token();
        token.refresh_token = Some(Secret::new("r"));
        token.id_token = Some(Secret::new("i"));
        token.access_token_type = Some("Bearer".into());
        token.scopes = Scopes::Listed(vec!["x".into(), "y".into()]);
        token.granted_by = Some("admin".into());
        let destination = Destination {
            tenant_id: Some("T1".into()),
            external_identifier: Some("e".into()),
            ..destination()
        };
        let most = encode(&token, &destination, Some(1_700_000_000));
        assert_eq!(
            std::str::from_utf8(most.reveal()).unwrap(),
            concat!(
                r#"{"appId":"google","userId":"U1","tenantId":"T1","refreshToken":"r","accessToken":"a\"1","#,
                r#""accessTokenExpiry":1700000000,"accessTokenType":"Bearer","scopes":["x","y"],"#,
                r#""externalIdentifier":"e","idToken":"i","grantedBy":"admin"}"#
            )
        );
    }

    fn batch(call: Call, token: &LegacyToken, count: usize) -> Batch {
        let destination = destination();
        let encoded = encode(token, &destination, None);
        let item = Item {
            key: token.key.clone(),
            page: 0,
            destination_id: destination.id(),
            identity: destination.identity(),
            destination,
            version: Version::default(),
            fingerprint: FingerprintKey::new(&[0; 32], None).fingerprint(&[]),
            expiry: None,
            has_access_token: token.access_token.is_some(),
            has_refresh_token: token.refresh_token.is_some(),
            is_new: true,
            replaces: None,
            encoded,
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
            let body = RequestBody::new(&batch);
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
        assert_eq!(RequestBody::new(&plain).bytes(), plain.items[0].encoded.reveal());

        token.refresh_token = Some(Secret::new("r}"));
        let verified = batch(Call::Single, &token, 1);
        let body = RequestBody::new(&verified);
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
        let text = format!("{:?} {:?}", batch.items[0].encoded, RequestBody::new(&batch));
        assert!(
            !text.contains("a\\\"1") && !text.contains("accessToken"),
            "{text}"
        );
    }
}
