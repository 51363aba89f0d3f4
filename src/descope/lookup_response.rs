//! Interpretation of the responses to lookups of users, apps and tenants.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{
    Refusal,
    error_body::ErrorBody,
    status::StatusClass,
    transport::{NoReply, Reply},
};

/// The codes of "user not found", for management keys and for other keys.
pub const USER_NOT_FOUND: [&str; 2] = ["E112102", "E062108"];

/// The code of "token not found". It is documented for 404; some gateways send it with 400.
pub(super) const TOKEN_NOT_FOUND: &str = "E111504";

/// The outcome of a lookup. The text of a refusal is our own, because the text of the API may repeat an
/// e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupOutcome<T> {
    /// The result.
    Found(T),
    /// The requested object does not exist.
    Absent,
    /// The quota is used up.
    RateLimited {
        /// The wait that the API asks for.
        retry_after: Option<Duration>,
    },
    /// No usable response; a retry may help.
    TryAgain {
        /// The wait that the API asks for.
        retry_after: Option<Duration>,
        /// The cause.
        refusal: Refusal,
    },
    /// The API rejects the request: a list may be too long, or an ID malformed.
    Refused(Refusal),
    /// The project ID or the management key is not accepted, or may not send this request.
    Credentials(Refusal),
    /// This is not the API, or not a known version of it.
    Endpoint(Refusal),
}

impl<T> LookupOutcome<T> {
    /// Returns the outcome with another result.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> LookupOutcome<U> {
        self.and_then(|found| LookupOutcome::Found(change(found)))
    }

    /// Returns the outcome, unless its result is about something other than requested.
    pub(super) fn if_about(self, is_about: impl FnOnce(&T) -> bool) -> Self {
        self.and_then(|found| {
            if is_about(&found) {
                return LookupOutcome::Found(found);
            }
            LookupOutcome::TryAgain {
                retry_after: None,
                refusal: Refusal {
                    status: Some(200),
                    code: "http_200".into(),
                    text: "the response is about something else".to_owned(),
                },
            }
        })
    }

    /// Returns the outcome that `then` makes of the result.
    pub(super) fn and_then<U>(self, then: impl FnOnce(T) -> LookupOutcome<U>) -> LookupOutcome<U> {
        match self {
            Self::Found(found) => then(found),
            Self::Absent => LookupOutcome::Absent,
            Self::RateLimited { retry_after } => LookupOutcome::RateLimited { retry_after },
            Self::TryAgain { retry_after, refusal } => LookupOutcome::TryAgain { retry_after, refusal },
            Self::Refused(refusal) => LookupOutcome::Refused(refusal),
            Self::Credentials(refusal) => LookupOutcome::Credentials(refusal),
            Self::Endpoint(refusal) => LookupOutcome::Endpoint(refusal),
        }
    }
}

/// Interprets a reply. If the API responds "not found", `absent` decides from the error code what that means.
pub(super) fn outcome<T: DeserializeOwned>(
    reply: Result<Reply, NoReply>,
    absent: impl FnOnce(&str) -> LookupOutcome<T>,
) -> LookupOutcome<T> {
    match reply {
        Ok(reply) => interpret(reply.status, reply.retry_after, reply.body.as_deref(), absent),
        // A lookup changes nothing, so it can be repeated after any failure of the connection.
        Err(none) => LookupOutcome::TryAgain {
            retry_after: None,
            refusal: none.into_refusal(),
        },
    }
}

fn interpret<T: DeserializeOwned>(
    status: u16,
    retry_after: Option<Duration>,
    body: Option<&[u8]>,
    absent: impl FnOnce(&str) -> LookupOutcome<T>,
) -> LookupOutcome<T> {
    let error = ErrorBody::of(body);
    let refusal = |text: &str| Refusal {
        status: Some(status),
        code: error
            .code()
            .map_or_else(|| format!("http_{status}").into(), Into::into),
        text: text.to_owned(),
    };
    let missing = match (status, error.service_code()) {
        // A missing entity comes with an error code of Descope, a missing path without one.
        (404, Some(code)) => Some(code),
        (400, Some(code)) if code == TOKEN_NOT_FOUND || USER_NOT_FOUND.contains(&code) => Some(code),
        _ => None,
    };
    if let Some(code) = missing {
        return absent(code);
    }
    match status {
        200 => body.and_then(whole_object).map_or_else(
            || LookupOutcome::TryAgain {
                retry_after,
                refusal: refusal("the response could not be read"),
            },
            LookupOutcome::Found,
        ),
        _ => match StatusClass::of(status) {
            StatusClass::Refused => LookupOutcome::Refused(refusal("the API rejects the request")),
            StatusClass::TooLarge => {
                LookupOutcome::Refused(refusal("the API rejects the request as too large"))
            }
            StatusClass::RateLimited => LookupOutcome::RateLimited { retry_after },
            StatusClass::Credentials => LookupOutcome::Credentials(refusal(
                "the API does not accept the credentials for this request",
            )),
            StatusClass::Indeterminate => LookupOutcome::TryAgain {
                retry_after,
                refusal: refusal("no usable response"),
            },
            // Any other success is not documented.
            StatusClass::WrongEndpoint => {
                LookupOutcome::Endpoint(refusal("the API does not know this request"))
            }
        },
    }
}

/// Parses an object, as every response of the API is one. A derived type alone would also accept a list of
/// its fields.
pub(super) fn whole_object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// Parses a list that must be present, if only as null. An object without it is not the response to this
/// request: reading it as an empty list would mean that nothing exists.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn word(status: u16, body: &str) -> &'static str {
        match interpret::<Value>(status, None, Some(body.as_bytes()), |_| LookupOutcome::Absent) {
            LookupOutcome::Found(_) => "found",
            LookupOutcome::Absent => "absent",
            LookupOutcome::RateLimited { .. } => "rate limited",
            LookupOutcome::TryAgain { .. } => "try again",
            LookupOutcome::Refused(_) => "refused",
            LookupOutcome::Credentials(_) => "credentials",
            LookupOutcome::Endpoint(_) => "endpoint",
        }
    }

    #[test]
    fn row_by_row() {
        for (status, body, expected) in [
            (200, "{}", "found"),
            (200, "<html>", "try again"),
            (200, "[]", "try again"),
            (200, "null", "try again"),
            (201, "{}", "endpoint"),
            (302, "", "endpoint"),
            (400, r#"{"errorCode":"E112102"}"#, "absent"),
            (400, r#"{"errorCode":"E062108"}"#, "absent"),
            (400, r#"{"errorCode":"E111504"}"#, "absent"),
            (400, r#"{"errorCode":"E011001"}"#, "refused"),
            (400, "", "refused"),
            (401, "", "credentials"),
            (403, r#"{"errorCode":"E1"}"#, "credentials"),
            (404, r#"{"errorCode":"E1"}"#, "absent"),
            (404, "not found", "endpoint"),
            (404, r#"{"errorCode":"NO_ROUTE"}"#, "endpoint"),
            (405, "", "endpoint"),
            (413, "", "refused"),
            (429, "", "rate limited"),
            (500, "", "try again"),
            (503, "", "try again"),
            (524, "", "try again"),
        ] {
            assert_eq!(word(status, body), expected, "{status} {body}");
        }
        assert!(matches!(
            interpret::<Value>(200, None, None, |_| LookupOutcome::Absent),
            LookupOutcome::TryAgain { .. }
        ));
    }

    #[test]
    fn the_apis_own_words_are_not_repeated() {
        let body = br#"{"errorCode":"E011003","errorDescription":"bad loginId alice@example.com"}"#;
        let outcome = interpret::<Value>(400, None, Some(body), |_| LookupOutcome::Absent);
        assert!(!format!("{outcome:?}").contains("alice"), "{outcome:?}");
    }
}
