//! Connection URLs as text: decoding, building, and the error of one that cannot be used.

use thiserror::Error;
use url::{Url, form_urlencoded};

/// A URL that cannot be used. The text continues a sentence that starts with its key, and contains no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UnusableUrl(String);

pub(super) fn unusable(text: impl Into<String>) -> UnusableUrl {
    UnusableUrl(text.into())
}

/// Decodes percent signs. A plus sign stays: a URL is not a form.
pub(super) fn decoded(text: &str) -> String {
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(text, _)| text.into_owned())
        .unwrap_or_default()
}

/// Returns true if a slash, a question mark or a number sign in a password or user ended the address too
/// early: the sign that should end the login is behind it. The host would be a part of the password.
pub(super) fn is_cut_short(authority: &str, rest: &str) -> bool {
    let (before_parameters, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let ends_with_a_port = match host.rsplit_once(':') {
        Some((_, port)) => host.ends_with(']') || port.chars().all(|each| each.is_ascii_digit()),
        None => true,
    };
    // The value of a parameter may contain the sign, as a user `name@server` does.
    let is_in_a_name = parameters
        .split('&')
        .any(|pair| pair.split('=').next().is_some_and(|name| name.contains('@')));
    before_parameters.contains('@') || is_in_a_name || (!ends_with_a_port && rest.contains('@'))
}

/// Builds a URL with everything in parameters, the only form that the driver reads completely.
pub(super) fn in_parameters<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Url, UnusableUrl> {
    let mut url = Url::parse("postgres:///").map_err(|error| unusable(error.to_string()))?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::is_cut_short;

    #[test]
    fn a_password_that_ends_the_address_is_recognised() {
        for (authority, rest, expected) in [
            ("u:p", "/w@db.internal/crm", true),
            ("u:p@ss", "/w0rd@db.internal/crm", true),
            ("u:p", "#w@db/crm", true),
            ("u:p", "?w@db/crm", true),
            ("u:123", "?w@db/crm", true),
            ("u:p@ss@db", "/crm", false),
            ("u:p%2Fw@db:5432", "/crm?sslmode=require", false),
            ("u@[::1]:6432", "/crm", false),
            ("[::1]", "/crm", false),
            ("", "/crm?host=/tmp&user=name@server", false),
        ] {
            assert_eq!(is_cut_short(authority, rest), expected, "{authority}{rest}");
        }
    }
}
