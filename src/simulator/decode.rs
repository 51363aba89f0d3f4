//! Reads a body strictly and says what is wrong with it without quoting it.

use axum::{extract::Query, http::Uri};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::simulator::{refusal::Refusal, wire::ABSENT};

/// Reads `body` as a `T`.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| explain(&error.path().to_string(), error.inner()))?;
    deserializer.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

/// Reads a query string as strictly as a body.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    // The reason would quote the value.
    Query::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|_| Refusal::bad_request("unknown or malformed query parameter"))
}

/// Returns a text that is neither absent nor blank: the gateway cannot tell the two apart.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// Returns the text of a field that must be filled.
pub(super) fn required(name: &str, text: Option<String>) -> Result<String, Refusal> {
    filled(text).ok_or_else(|| Refusal::invalid_arguments(format!("{name} is required")))
}

/// serde's own message would quote the offending value, which may be a token.
fn explain(path: &str, error: &serde_json::Error) -> Refusal {
    if error.classify() != Category::Data {
        return Refusal::bad_request(format!("malformed JSON at column {}", error.column()));
    }
    let message = error.to_string();
    let complaint = if message.starts_with("unknown field") || message.starts_with(ABSENT) {
        "unknown field"
    } else if message.starts_with("duplicate field") {
        "duplicate field"
    } else {
        "wrong type of value for field"
    };
    // The path ends at the struct when the field's name comes from serde's message.
    let name = message
        .strip_prefix(complaint)
        .and_then(|rest| rest.split('`').nth(1));
    match name {
        Some(name) if !path.ends_with(name) => Refusal::bad_request(format!("{complaint} {name} in {path}")),
        _ => Refusal::bad_request(format!("{complaint} {path}")),
    }
}
