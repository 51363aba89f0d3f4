//! What an access token says of itself, where it is a JWT.

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use super::Found;
use crate::model::{LegacyToken, Reason, Rule};

/// Legacy programs write "now plus `expires_in`" when an answer comes, and some take a minute or two off to be safe.
const LEEWAY: u64 = 300;

/// Claims of more than so many bytes are not looked at.
const MOST_CLAIMS: usize = 4096;

/// Lenient about padding, which does not belong there and is sometimes met.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The one claim that matters here.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

pub(super) fn check(token: &LegacyToken, expiry: i32, found: &mut Found) -> Result<(), Reason> {
    let own = token
        .access_token
        .as_ref()
        .and_then(|access| expiry_of(access.reveal()));
    match own {
        Some(own) if own.abs_diff(i64::from(expiry)) > LEEWAY => found.broken(Rule::JwtExpiryDiffers, None),
        _ => Ok(()),
    }
}

/// Three parts between dots, of which the first begins as `{"` does in base64; the second holds the claims.
fn expiry_of(token: &str) -> Option<i64> {
    let (_, rest) = token.strip_prefix("eyJ")?.split_once('.')?;
    let (claims, signature) = rest.split_once('.')?;
    if signature.contains('.') {
        // Five parts: encrypted.
        return None;
    }
    let mut decoded = [0; MOST_CLAIMS];
    let length = BASE64.decode_slice(claims, &mut decoded).ok()?;
    let claims: Claims = serde_json::from_slice(&decoded[..length]).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and is compared with an int32"
    )]
    claims.exp.map(|exp| exp as i64)
}
