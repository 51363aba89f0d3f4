//! What each answer to a question about users, apps and tenants means.

use std::time::{Duration, SystemTime};

use reqwest::{RequestBuilder, header::DATE};
use serde::de::DeserializeOwned;

use super::{
    Refusal,
    answer::{ErrorBody, Trouble},
    client::{whole_body, wire_refusal},
    retry_after::retry_after,
};
use crate::meter::Exchange;

/// The codes of "user not found", for management keys and for others.
pub const USER_NOT_FOUND: [&str; 2] = ["E112102", "E062108"];

/// The code of "token not found". Documented under 404; some gateways put it under 400.
pub(super) const TOKEN_NOT_FOUND: &str = "E111504";

/// What a question came to. A refusal's text is ours: the API's own words may repeat an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked<T> {
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

impl<T> Looked<T> {
    /// The same with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Looked<U> {
        self.and_then(|found| Looked::Found(change(found)))
    }

    /// What the answer comes to.
    pub(super) fn and_then<U>(self, then: impl FnOnce(T) -> Looked<U>) -> Looked<U> {
        match self {
            Self::Found(found) => then(found),
            Self::Absent => Looked::Absent,
            Self::RateLimited { retry_after } => Looked::RateLimited { retry_after },
            Self::TryAgain { retry_after, refusal } => Looked::TryAgain { retry_after, refusal },
            Self::Refused(refusal) => Looked::Refused(refusal),
            Self::Credentials(refusal) => Looked::Credentials(refusal),
            Self::Endpoint(refusal) => Looked::Endpoint(refusal),
        }
    }
}

/// The question's answer, and the time at which the server says it gave it.
pub(super) async fn ask<T: DeserializeOwned>(
    exchange: Exchange,
    request: RequestBuilder,
) -> (Looked<T>, Option<SystemTime>) {
    ask_or(exchange, request, |_| Looked::Absent).await
}

/// The same, where `absent` decides by the error code what it means that something is not there.
pub(super) async fn ask_or<T: DeserializeOwned>(
    exchange: Exchange,
    request: RequestBuilder,
    absent: impl FnOnce(&str) -> Looked<T>,
) -> (Looked<T>, Option<SystemTime>) {
    match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            let wait = retry_after(response.headers(), SystemTime::now());
            let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
            let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
            let body = whole_body(response).await;
            exchange.answered(status);
            (interpret(status, wait, body.as_deref(), absent), date)
        }
        // Asking changes nothing: whatever happened on the wire, it may be asked again.
        Err(error) => {
            let refusal = wire_refusal(&error);
            exchange.lost(&refusal.code);
            let looked = Looked::TryAgain {
                retry_after: None,
                refusal,
            };
            (looked, None)
        }
    }
}

fn interpret<T: DeserializeOwned>(
    status: u16,
    retry_after: Option<Duration>,
    body: Option<&[u8]>,
    absent: impl FnOnce(&str) -> Looked<T>,
) -> Looked<T> {
    let error = body
        .and_then(|body| serde_json::from_slice::<ErrorBody>(body).ok())
        .unwrap_or_default();
    let code = error.code();
    let refusal = |text: &str| Refusal {
        status: Some(status),
        code: code
            .clone()
            .map_or_else(|| format!("http_{status}").into(), Into::into),
        text: text.to_owned(),
    };
    let missing = match (status, code.as_deref()) {
        // An entity that is not there comes with a Descope error code; a path that is not there comes without.
        (404, Some(code)) => Some(code),
        (400, Some(code)) if code == TOKEN_NOT_FOUND || USER_NOT_FOUND.contains(&code) => Some(code),
        _ => None,
    };
    if let Some(code) = missing {
        return absent(code);
    }
    match status {
        200 => match body.map(serde_json::from_slice) {
            Some(Ok(found)) => Looked::Found(found),
            _ => Looked::TryAgain {
                retry_after,
                refusal: refusal("the answer could not be read"),
            },
        },
        _ => match Trouble::of(status) {
            Trouble::Refused => Looked::Refused(refusal("the API does not take the question")),
            Trouble::TooLarge => Looked::Refused(refusal("the API finds the question too large")),
            Trouble::RateLimited => Looked::RateLimited { retry_after },
            Trouble::Credentials => {
                Looked::Credentials(refusal("the API does not accept the credentials for this"))
            }
            Trouble::TurnedAway | Trouble::Broken { .. } => Looked::TryAgain {
                retry_after,
                refusal: refusal("no usable answer"),
            },
            // Any other success is not documented.
            Trouble::Foreign => Looked::Endpoint(refusal("the API does not know this question")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn word(status: u16, body: &str) -> &'static str {
        match interpret::<Value>(status, None, Some(body.as_bytes()), |_| Looked::Absent) {
            Looked::Found(_) => "found",
            Looked::Absent => "absent",
            Looked::RateLimited { .. } => "rate limited",
            Looked::TryAgain { .. } => "try again",
            Looked::Refused(_) => "refused",
            Looked::Credentials(_) => "credentials",
            Looked::Endpoint(_) => "endpoint",
        }
    }

    #[test]
    fn row_by_row() {
        for (status, body, expected) in [
            (200, "{}", "found"),
            (200, "<html>", "try again"),
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
            interpret::<Value>(200, None, None, |_| Looked::Absent),
            Looked::TryAgain { .. }
        ));
    }

    #[test]
    fn the_apis_own_words_are_not_repeated() {
        let body = br#"{"errorCode":"E011003","errorDescription":"bad loginId alice@example.com"}"#;
        let looked = interpret::<Value>(400, None, Some(body), |_| Looked::Absent);
        assert!(!format!("{looked:?}").contains("alice"), "{looked:?}");
    }
}
