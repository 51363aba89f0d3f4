//! The API's error format: `{"errorCode","errorDescription","errorMessage"?}`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::looks_like_a_secret;

/// The readable fields of an error. A field of another type is ignored and does not hide the others.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub(super) struct ErrorBody {
    code: Option<String>,
    description: Option<String>,
    message: Option<String>,
}

impl From<Map<String, Value>> for ErrorBody {
    fn from(mut fields: Map<String, Value>) -> Self {
        let mut text = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Self {
            code: text("errorCode"),
            description: text("errorDescription"),
            message: text("errorMessage"),
        }
    }
}

impl ErrorBody {
    /// Returns the error in a body, or an empty one if there is none.
    pub(super) fn of(body: Option<&[u8]>) -> Self {
        body.and_then(|body| serde_json::from_slice(body).ok())
            .unwrap_or_default()
    }

    /// Returns the error of a single item, which has a reason instead of a description.
    pub(super) fn of_item(code: Option<String>, reason: Option<String>) -> Self {
        Self {
            code,
            description: reason,
            message: None,
        }
    }

    /// Returns the code if it looks like one: codes are used in scripts, file names and the ledger.
    pub(super) fn code(&self) -> Option<String> {
        let code = self.code.as_deref()?;
        let parts = code.split(['_', '-', '.']);
        let is_code = code.len() <= 64 && parts.clone().all(is_part) && !looks_like_a_secret(code);
        (is_code && !code.is_empty()).then(|| code.to_owned())
    }

    /// Returns the code if it is one of Descope, such as `E112102`: then the service itself responded, and no
    /// gateway before it.
    pub(super) fn service_code(&self) -> Option<&str> {
        let code = self.code.as_deref()?;
        let digits = code.strip_prefix('E')?;
        let is_number =
            !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(code)
    }

    /// Returns description and message as one text, as far as they are present.
    pub(super) fn text(&self) -> Option<String> {
        let parts = [self.description.as_deref(), self.message.as_deref()];
        let text = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.trim().is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        (!text.is_empty()).then_some(text)
    }
}

/// Returns true for a word, a number, or one followed by the other, which are the parts of codes: `E112102`,
/// `NOT`, `v2`. Only one letter may follow a number, because several are typical of tokens.
fn is_part(part: &str) -> bool {
    let rest = part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    part.len() - rest.len() <= 24
        && rest.len() - digits.len() <= usize::from(!digits.is_empty())
        && digits.len() <= 9
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_own_codes_tell_that_it_answered() {
        for (body, code, service_code) in [
            (r#"{"errorCode":"E112102"}"#, Some("E112102"), Some("E112102")),
            (
                r#"{"errorCode":"E1","errorDescription":7}"#,
                Some("E1"),
                Some("E1"),
            ),
            (
                r#"{"errorCode":"ROUTE_NOT_FOUND"}"#,
                Some("ROUTE_NOT_FOUND"),
                None,
            ),
            (r#"{"errorCode":"E"}"#, Some("E"), None),
            (r#"{"errorCode":"E11x"}"#, Some("E11x"), None),
            (r#"{"errorCode":"E1\n<b>"}"#, None, None),
            (r#"{"errorCode":404}"#, None, None),
            // A value that repeats a token is not a code.
            (r#"{"errorCode":"ya29.A0ARrda-secret"}"#, None, None),
            (r#"{"errorCode":"eWEyOS5BMEFScmRhLXNlY3JldA"}"#, None, None),
            (r#"{"errorCode":"s3cr3t-t0ken-access-1"}"#, None, None),
            (r#"{"errorCode":"796132392e413041"}"#, None, None),
            (r#"["E1","x","y"]"#, None, None),
            ("<html>", None, None),
        ] {
            let error = ErrorBody::of(Some(body.as_bytes()));
            assert_eq!(error.code().as_deref(), code, "{body}");
            assert_eq!(error.service_code(), service_code, "{body}");
        }
    }
}
