//! Responses to lookups of users, apps and tenants: what each means.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{
    Refusal,
    error_body::ErrorBody,
    status::StatusClass,
    transport::{NoReply, Reply},
};

/// The codes of "user not found", for management keys and for others.
pub const USER_NOT_FOUND: [&str; 2] = ["E112102", "E062108"];

/// The code of "token not found". Documented under 404; some gateways put it under 400.
pub(super) const TOKEN_NOT_FOUND: &str = "E111504";

/// What a question came to. A refusal's text is ours: the API's own words may repeat an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupOutcome<T> {
    /// The answer.
    Found(T),
    /// What was asked for by its ID is not there.
    Absent,
    /// The quota is used up.
    RateLimited {
        /// How long the API asks us to wait.
        retry_after: Option<Duration>,
    },
    /// No usable answer; asking again may help.
    TryAgain {
        /// How long the API asks us to wait.
        retry_after: Option<Duration>,
        /// What happened.
        refusal: Refusal,
    },
    /// The API does not take the question as it is: a list may be too long, or an ID malformed.
    Refused(Refusal),
    /// The project ID or the management key is not accepted, or may not ask this.
    Credentials(Refusal),
    /// This is not the API, or not a version of it that we know.
    Endpoint(Refusal),
}

impl<T> LookupOutcome<T> {
    /// The same with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> LookupOutcome<U> {
        self.and_then(|found| LookupOutcome::Found(change(found)))
    }

    /// The answer, unless it is about something else than was asked for.
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
                    text: "the answer is about something else".to_owned(),
                },
            }
        })
    }

    /// What the answer comes to.
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

/// Reads an answer. `absent` decides by the error code what it means that something is not there.
pub(super) fn outcome<T: DeserializeOwned>(
    reply: Result<Reply, NoReply>,
    absent: impl FnOnce(&str) -> LookupOutcome<T>,
) -> LookupOutcome<T> {
    match reply {
        Ok(reply) => interpret(reply.status, reply.retry_after, reply.body.as_deref(), absent),
        // Asking changes nothing: whatever happened on the wire, it may be asked again.
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
        // An entity that is not there comes with a Descope error code; a path that is not there comes without.
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
                refusal: refusal("the answer could not be read"),
            },
            LookupOutcome::Found,
        ),
        _ => match StatusClass::of(status) {
            StatusClass::Refused => LookupOutcome::Refused(refusal("the API does not take the question")),
            StatusClass::TooLarge => LookupOutcome::Refused(refusal("the API finds the question too large")),
            StatusClass::RateLimited => LookupOutcome::RateLimited { retry_after },
            StatusClass::Credentials => {
                LookupOutcome::Credentials(refusal("the API does not accept the credentials for this"))
            }
            StatusClass::Indeterminate => LookupOutcome::TryAgain {
                retry_after,
                refusal: refusal("no usable answer"),
            },
            // Any other success is not documented.
            StatusClass::WrongEndpoint => {
                LookupOutcome::Endpoint(refusal("the API does not know this question"))
            }
        },
    }
}

/// Every answer of the API is an object; a derived type would take a list of its fields as well.
pub(super) fn whole_object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// A list that has to be there, if only as null. An object without it is not the answer to what was asked: to take it for an
/// empty list would be to say that nothing is there.
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
