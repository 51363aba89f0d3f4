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

/// Builds a URL with everything in parameters, the only form that the driver reads completely.
pub(super) fn in_parameters<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Url, UnusableUrl> {
    let mut url = Url::parse("postgres:///").map_err(|error| unusable(error.to_string()))?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url)
}
