//! Rules about JWTs: the claims of an access token.

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use super::Found;
use crate::{
    domain::{LegacyToken, Reason, Rule},
    secret::Secret,
};

/// Legacy programs store "now plus `expires_in`" when a response arrives, some with a margin of a minute or
/// two.
const LEEWAY: u64 = 300;

/// Larger claims are not parsed.
const MOST_CLAIMS: usize = 2048;

/// Accepts padding, which JWTs should not have but sometimes do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The only claim that is read.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

pub(super) fn check(token: &LegacyToken, expiry: i32, found: &mut Found) -> Result<(), Reason> {
    let agrees = |access: &Secret| agrees(access.reveal(), i64::from(expiry));
    if token.access_token.as_ref().is_none_or(agrees) {
        return Ok(());
    }
    found.broken(Rule::JwtExpiryDiffers, None)
}

/// Returns true if the token's own expiry matches the column, or it has none.
fn agrees(token: &str, expiry: i64) -> bool {
    let close = |own: i64| own.abs_diff(expiry) <= LEEWAY;
    let mut buffer = [0; MOST_CLAIMS];
    let Some(claims) = claims(token, &mut buffer) else {
        return true;
    };
    // Scanning usually suffices; parsing takes three times as long.
    if glimpse(claims).is_some_and(close) {
        return true;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and is compared with an int32"
    )]
    let own = serde_json::from_slice(claims).map(|claims: Claims| claims.exp.map(|exp| exp as i64));
    own.ok().flatten().is_none_or(close)
}

/// Decodes the claims of a JWT: three parts separated by dots, the first of which starts with `{"` in base64.
fn claims<'b>(token: &str, buffer: &'b mut [u8; MOST_CLAIMS]) -> Option<&'b [u8]> {
    let mut dots =
        memchr::memchr_iter(b'.', token.strip_prefix("eyJ")?.as_bytes()).map(|dot| dot + "eyJ".len());
    let (before, behind) = (dots.next()?, dots.next()?);
    if dots.next().is_some() {
        // Five parts: encrypted.
        return None;
    }
    let claims = &token[before + 1..behind];
    let length = BASE64.decode_slice(claims, buffer).ok()?;
    buffer.get(..length)
}

/// Returns the header of an encrypted JWT, which has five parts.
pub(super) fn header_of_jwe(token: &str) -> Option<Vec<u8>> {
    let mut parts = token.strip_prefix("eyJ").map(|_| token.split('.'))?;
    let header = parts.next().filter(|header| header.len() < MOST_CLAIMS)?;
    (parts.count() == 4).then(|| BASE64.decode(header).ok())?
}

/// Scans for the first expiry in the usual notation, at any depth.
fn glimpse(claims: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"exp\":";
    let begin = memchr::memmem::find(claims, NAME)? + NAME.len();
    let digits = claims[begin..]
        .iter()
        .take(12)
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}
