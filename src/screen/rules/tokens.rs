//! Whether a token looks like one. Each is looked at once from end to end, and where it is made of what tokens are made of,
//! its first characters tell the rest.

use super::{Found, encrypted, has_control, is_padded, is_plain};
use crate::model::{LegacyToken, Reason, Rule, Secret};

/// What programs and dumps write where there is nothing.
const PLACEHOLDERS: [&str; 8] = ["null", "none", "nil", "undefined", "nan", "n/a", "-", "\\n"];

/// No placeholder is longer.
const LONGEST_PLACEHOLDER: usize = 9;

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
    if is_plain(text) {
        return Ok(());
    }
    if is_padded(text) || has_control(text) {
        return found.broken(Rule::TokenWhitespace, Some(part));
    }
    if has_type_before_it(text) {
        return found.broken(Rule::TokenPrefixed, Some(part));
    }
    // OAuth 2.0 makes tokens of printable ASCII (RFC 6749, appendix A.12), and nearly everybody leaves out the space.
    if text.contains(char::is_whitespace) {
        found.broken(Rule::TokenSpace, Some(part))?;
    }
    if !text.is_ascii() {
        found.broken(Rule::TokenNotAscii, Some(part))?;
    }
    Ok(())
}

/// Something else than a token, told by how it begins and ends.
fn known_shape(text: &str) -> Option<Rule> {
    match text.as_bytes() {
        [quote @ (b'"' | b'\'' | b'`'), .., last] if quote == last => Some(Rule::TokenQuoted),
        [b'{', .., b'}'] if text.contains("\"iv\"") => Some(Rule::TokenEncrypted),
        [b'{', .., b'}'] => Some(Rule::TokenIsJson),
        bytes if bytes.len() <= LONGEST_PLACEHOLDER => PLACEHOLDERS
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
            .then_some(Rule::TokenPlaceholder),
        _ => encrypted::looks_so(text).then_some(Rule::TokenEncrypted),
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
