//! Encoding of a token for the API: `UserToken` and `TenantToken` of the upload endpoints. The latter is the
//! former without `userId`. Absent fields are left out, because the gateway rejects what it does not know.
//!
//! The encoder is written by hand for speed, because every byte of every token passes through it: a
//! serializer checks each byte for characters to escape, and tokens contain none.

use crate::{
    domain::{Destination, EncodedToken, LegacyToken, Scopes},
    secret::{Secret, ZeroizingBuf},
};

/// Approximate size of an encoded token without its secrets.
const BESIDE_SECRETS: usize = 320;

/// Number of bytes that are checked together.
const STRIDE: usize = 64;

/// Returns the approximate size of a token when it is encoded.
#[must_use]
pub fn room_for(token: &LegacyToken) -> usize {
    let secret = |secret: &'_ Option<Secret>| secret.as_ref().map_or(0, |secret| secret.reveal().len());
    BESIDE_SECRETS + secret(&token.access_token) + secret(&token.refresh_token) + secret(&token.id_token)
}

/// Encodes one token.
#[must_use]
pub fn encode(token: &LegacyToken, destination: &Destination, expiry: Option<i32>) -> EncodedToken {
    let mut json = ZeroizingBuf::with_capacity(room_for(token));
    encode_into(&mut json, token, destination, expiry);
    EncodedToken::new(json)
}

/// Appends the encoding of a token for its destination. `expiry` is in seconds since 1970; `None` lets the
/// API treat it as unknown.
///
/// The order of the fields is part of the format of the ledger: fingerprints are computed over these bytes.
pub fn encode_into(
    json: &mut ZeroizingBuf,
    token: &LegacyToken,
    destination: &Destination,
    expiry: Option<i32>,
) {
    json.extend(br#"{"appId":"#);
    text(json, &destination.app_id);
    field(json, br#","userId":"#, destination.user_id.as_deref());
    field(json, br#","tenantId":"#, destination.tenant_id.as_deref());
    field(
        json,
        br#","refreshToken":"#,
        token.refresh_token.as_ref().map(Secret::reveal),
    );
    field(
        json,
        br#","accessToken":"#,
        token.access_token.as_ref().map(Secret::reveal),
    );
    if let Some(expiry) = expiry {
        json.extend(br#","accessTokenExpiry":"#);
        by_serializer(json, &expiry);
    }
    field(
        json,
        br#","accessTokenType":"#,
        token.access_token_type.as_deref(),
    );
    if let Scopes::Listed(scopes) = &token.scopes
        && !scopes.is_empty()
    {
        json.extend(br#","scopes":["#);
        for (position, scope) in scopes.iter().enumerate() {
            if position > 0 {
                json.extend(b",");
            }
            text(json, scope);
        }
        json.extend(b"]");
    }
    field(
        json,
        br#","externalIdentifier":"#,
        destination.external_identifier.as_deref(),
    );
    field(
        json,
        br#","idToken":"#,
        token.id_token.as_ref().map(Secret::reveal),
    );
    field(json, br#","grantedBy":"#, token.granted_by.as_deref());
    json.extend(b"}");
}

fn field(json: &mut ZeroizingBuf, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        json.extend(name);
        text(json, value);
    }
}

fn text(json: &mut ZeroizingBuf, value: &str) {
    if is_verbatim(value.as_bytes()) {
        json.extend(b"\"");
        json.extend(value.as_bytes());
        json.extend(b"\"");
    } else {
        by_serializer(json, value);
    }
}

fn by_serializer(json: &mut ZeroizingBuf, value: &(impl serde::Serialize + ?Sized)) {
    // Writing strings and numbers to memory cannot fail. If it did, the API would reject this token by name.
    let _ = serde_json::to_writer(json, value);
}

/// Returns true if a text needs no escapes between quotes. This form lets the compiler check many bytes at
/// once.
fn is_verbatim(text: &[u8]) -> bool {
    let any_escaped = |bytes: &[u8]| {
        bytes.iter().fold(0_u8, |found, &byte| {
            found | u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\')
        })
    };
    let (strides, rest) = text.as_chunks::<STRIDE>();
    strides.iter().all(|stride| any_escaped(stride) == 0) && any_escaped(rest) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SourceKey;

    fn destination(app_id: &str) -> Destination {
        Destination::user(app_id, "U1")
    }

    fn encoded(token: &LegacyToken, destination: &Destination, expiry: Option<i32>) -> String {
        String::from_utf8(encode(token, destination, expiry).reveal().to_vec()).unwrap()
    }

    #[test]
    fn the_encoding_is_pinned_since_fingerprints_are_taken_over_it() {
        let mut token = LegacyToken::empty(SourceKey::from("1"));
        token.access_token = Some(Secret::new("a\"1"));
        assert_eq!(
            encoded(&token, &destination("google"), None),
            r#"{"appId":"google","userId":"U1","accessToken":"a\"1"}"#
        );

        token.refresh_token = Some(Secret::new("r"));
        token.id_token = Some(Secret::new("i"));
        token.access_token_type = Some("Bearer".into());
        token.scopes = Scopes::Listed(["x".into(), "y".into()].into());
        token.granted_by = Some("admin".into());
        let destination = destination("google")
            .in_tenant(Some("T1".into()))
            .identified_by(Some("e".into()));
        assert_eq!(
            encoded(&token, &destination, Some(1_700_000_000)),
            concat!(
                r#"{"appId":"google","userId":"U1","tenantId":"T1","refreshToken":"r","accessToken":"a\"1","#,
                r#""accessTokenExpiry":1700000000,"accessTokenType":"Bearer","scopes":["x","y"],"#,
                r#""externalIdentifier":"e","idToken":"i","grantedBy":"admin"}"#
            )
        );
    }

    #[test]
    fn a_text_is_written_as_the_serializer_writes_it_wherever_its_odd_character_stands() {
        let token = LegacyToken::empty(SourceKey::from("1"));
        for odd in (0..=0x100).filter_map(char::from_u32) {
            for before in [0, 1, STRIDE - 1, STRIDE, 2 * STRIDE + 5] {
                let text = format!("{}{odd}z", "x".repeat(before));
                let quoted = serde_json::to_string(&text).unwrap();
                assert_eq!(
                    encoded(&token, &destination(&text), None),
                    format!(r#"{{"appId":{quoted},"userId":"U1"}}"#)
                );
            }
        }
    }
}
