//! Rules about tokens: whether a value looks like one. Each value is scanned once; for valid characters, the
//! first ones decide the rest.

use super::{Found, encoded, encrypted, has_control, is_padded, is_placeholder, is_plain};
use crate::{
    domain::{LegacyToken, Reason, Rule},
    secret::Secret,
};

/// The length of the longest mask.
const LONGEST_MASK: usize = 128;

/// Prefixes of form-encoded responses of token endpoints, such as GitHub's.
const FORM: [&str; 5] = [
    "access_token=",
    "refresh_token=",
    "token_type=",
    "expires_in=",
    "scope=",
];

pub(super) fn check(token: &LegacyToken, found: &mut Found) -> Result<(), Reason> {
    let (access, refresh) = (token.access_token.as_ref(), token.refresh_token.as_ref());
    for (part, value) in [
        ("access token", access),
        ("refresh token", refresh),
        ("ID token", token.id_token.as_ref()),
    ] {
        if let Some(value) = value {
            looks_like_one(part, value.reveal(), found)?;
        }
    }
    if let (Some(access), Some(refresh)) = (access.map(Secret::reveal), refresh.map(Secret::reveal))
        && access == refresh
    {
        found.broken(Rule::TokensIdentical, None)?;
    }
    Ok(())
}

fn looks_like_one(part: &str, text: &str, found: &mut Found) -> Result<(), Reason> {
    if let Some(rule) = known_shape(text) {
        return found.broken(rule, Some(part));
    }
    if encrypted::is_jwe_with_shared_key(text) {
        found.broken(Rule::TokenJwe, Some(part))?;
    }
    if is_plain(text) {
        return Ok(());
    }
    if is_padded(text) || has_control(text) {
        return found.broken(Rule::TokenWhitespace, Some(part));
    }
    if has_type_before_it(text) {
        return found.broken(Rule::TokenPrefixed, Some(part));
    }
    // OAuth 2.0 tokens are printable ASCII (RFC 6749, appendix A.12), and hardly any contain a space.
    if text.contains(char::is_whitespace) {
        found.broken(Rule::TokenSpace, Some(part))?;
    }
    if !text.is_ascii() {
        found.broken(Rule::TokenNotAscii, Some(part))?;
    }
    Ok(())
}

/// Returns the rule for a value whose beginning and end show that it is not a token.
fn known_shape(text: &str) -> Option<Rule> {
    match text.as_bytes() {
        [quote @ (b'"' | b'\'' | b'`'), .., last] if quote == last => Some(Rule::TokenQuoted),
        // As Python prints bytes, and as PHP serializes a string.
        [b'b', quote @ (b'"' | b'\''), .., last] if quote == last => Some(Rule::TokenQuoted),
        [b's', b':', b'0'..=b'9', .., b'"', b';'] => Some(Rule::TokenQuoted),
        [b'{', .., b'}'] if text.contains("\"iv\"") => Some(Rule::TokenEncrypted),
        [b'{', .., b'}'] => Some(Rule::TokenIsJson),
        [b'a' | b'r' | b't' | b'e' | b's', ..] if FORM.iter().any(|head| text.starts_with(head)) => {
            Some(Rule::TokenIsForm)
        }
        bytes if is_masked(bytes) => Some(Rule::TokenPlaceholder),
        _ if is_placeholder(text) => Some(Rule::TokenPlaceholder),
        _ if encrypted::looks_so(text) => Some(Rule::TokenEncrypted),
        _ => encoded::looks_so(text).then_some(Rule::TokenEncoded),
    }
}

/// One repeated character, or dots at the end.
fn is_masked(bytes: &[u8]) -> bool {
    if bytes.len() > 3 && bytes.ends_with(b"...") {
        return true;
    }
    match bytes {
        [mask @ (b'*' | b'x' | b'X' | b'.' | b'#'), rest @ ..] => {
            (3..=LONGEST_MASK).contains(&bytes.len()) && rest.iter().all(|byte| byte == mask)
        }
        _ => false,
    }
}

fn has_type_before_it(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(first, _)| {
        let kind = first.trim_end_matches(':');
        ["bearer", "token", "oauth", "basic"]
            .iter()
            .any(|word| kind.eq_ignore_ascii_case(word))
    })
}
