//! What each answer means: of an upload here, of a lookup in its own module, both from one table of statuses. Nothing
//! else in the crate decides that.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;

use crate::model::{Call, Subject};

/// What became of a request, as far as its answer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All of it is stored.
    Committed,
    /// Nothing of it is stored, and these are to blame. The list may be incomplete.
    Refused(Vec<Named>),
    /// Nothing of it is stored, and the answer blames nobody.
    RefusedWhole(Refusal),
    /// Nothing of it is stored: it is too large.
    TooLarge(Refusal),
    /// Nothing of it is stored: the quota is used up.
    RateLimited {
        /// How long the API asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Nothing of it is stored, as it did not get that far; it may go through next time.
    TryAgain {
        /// How long the API asks us to wait.
        retry_after: Option<Duration>,
        /// What happened.
        refusal: Refusal,
    },
    /// It may or may not be stored.
    Unknown {
        /// The request may still be on its way: there was no answer, or one by a gateway that did not wait for it.
        under_way: bool,
        /// What happened.
        refusal: Refusal,
    },
    /// The project ID or the management key is not accepted.
    Credentials(Refusal),
    /// This is not the API, or not a version of it that we know.
    Endpoint(Refusal),
}

/// An item of `failures`: the API names it by app and user, or by app and tenant, alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The outbound app.
    pub app_id: String,
    /// The user for the user variant, the tenant for the tenant variant.
    pub subject_id: String,
    /// Why.
    pub refusal: Refusal,
}

/// What the API (or the wire) said. As it comes from the client it may quote a secret: see [`scrub`](fn@super::scrub).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The API's `errorCode`, or `http_503`, `timeout` and the like.
    pub code: Cow<'static, str>,
    /// The API's own words, or ours.
    pub text: String,
}

impl Refusal {
    fn new(status: u16, body: &ErrorBody) -> Self {
        let code = body
            .code()
            .map_or_else(|| format!("http_{status}").into(), Into::into);
        let text = body
            .text()
            .unwrap_or_else(|| format!("the API answered {status}"));
        Self {
            status: Some(status),
            code,
            text,
        }
    }

    /// Something that happened without an answer.
    pub(super) fn wire(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: None,
            code: code.into(),
            text: text.into(),
        }
    }
}

/// What a status other than a success means, whatever was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Read, and not agreed to.
    Refused,
    /// Larger than the API takes.
    TooLarge,
    /// The quota is used up.
    RateLimited,
    /// The project ID or the management key is not accepted.
    Credentials,
    /// It did not get through.
    TurnedAway,
    /// It may have got through before something broke.
    Broken {
        /// The request may still be on its way.
        under_way: bool,
    },
    /// This path is not what we think it is.
    Foreign,
}

impl Trouble {
    /// The table.
    pub(super) fn of(status: u16) -> Self {
        match status {
            400 | 409 | 422 => Self::Refused,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            401 | 403 => Self::Credentials,
            // Turned away at the door: 503 by the service, 521, 523 and 530 by the gateway that found no server.
            503 | 521 | 523 | 530 => Self::TurnedAway,
            // 500 and 501 come from the service, which is done with it; 408, 502, 504 and the gateway's 520, 522, 524
            // from someone who stopped waiting.
            500 | 501 => Self::Broken { under_way: false },
            408 | 502.. => Self::Broken { under_way: true },
            // Redirects are not followed, and 404, 405, 410, 415 … mean another path.
            _ => Self::Foreign,
        }
    }
}

/// What became of an upload. `body` is the whole body, or `None` if it could not be read to its end.
pub(super) fn interpret(
    call: Call,
    subject: Subject,
    status: u16,
    retry_after: Option<Duration>,
    body: Option<&[u8]>,
) -> Answer {
    let failures = body.and_then(|body| serde_json::from_slice::<BatchAnswer>(body).ok());
    let error = body
        .and_then(|body| serde_json::from_slice::<ErrorBody>(body).ok())
        .unwrap_or_default();
    let named = failures
        .as_ref()
        .map(|answer| answer.named(subject, status))
        .unwrap_or_default();
    let refusal = Refusal::new(status, &error);
    match (status, failures) {
        // The status that comes with failures is not published: 200 and 400 are treated alike.
        (200 | 400, _) if !named.is_empty() => Answer::Refused(named),
        (200, Some(_)) if error.code.is_none() => Answer::Committed,
        // Any other success is not documented, an unreadable one may hide failures, and one with an error code contradicts
        // itself: none of them says what is stored.
        (200..=299, _) => {
            let text = format!("the API answered {status}, and the answer does not tell what is stored");
            Answer::Unknown {
                under_way: false,
                refusal: Refusal {
                    status: Some(status),
                    code: "unreadable_answer".into(),
                    text,
                },
            }
        }
        // The one token's app, user or tenant is not there. A path that is not there comes without an error code.
        (404, _) if call == Call::Single && error.code.is_some() => Answer::RefusedWhole(refusal),
        (_, _) => match Trouble::of(status) {
            Trouble::Refused => Answer::RefusedWhole(refusal),
            Trouble::TooLarge => Answer::TooLarge(refusal),
            Trouble::RateLimited => Answer::RateLimited { retry_after },
            Trouble::Credentials => Answer::Credentials(refusal),
            Trouble::TurnedAway => Answer::TryAgain { retry_after, refusal },
            Trouble::Broken { under_way } => Answer::Unknown { under_way, refusal },
            Trouble::Foreign => Answer::Endpoint(refusal),
        },
    }
}

/// `{"failures":[…]}`; an absent list is an empty one, a null one too.
#[derive(Deserialize)]
struct BatchAnswer {
    failures: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    app_id: Option<String>,
    user_id: Option<String>,
    tenant_id: Option<String>,
    error_code: Option<String>,
    reason: Option<String>,
}

impl BatchAnswer {
    fn named(&self, subject: Subject, status: u16) -> Vec<Named> {
        let failures = self.failures.as_deref().unwrap_or_default();
        failures
            .iter()
            .map(|failure| {
                let error = ErrorBody {
                    code: failure.error_code.clone(),
                    description: failure.reason.clone(),
                    message: None,
                };
                let subject_id = match subject {
                    Subject::User => &failure.user_id,
                    Subject::Tenant => &failure.tenant_id,
                };
                Named {
                    app_id: failure.app_id.clone().unwrap_or_default(),
                    subject_id: subject_id.clone().unwrap_or_default(),
                    refusal: Refusal::new(status, &error),
                }
            })
            .collect()
    }
}

/// `{"errorCode","errorDescription","errorMessage"?}`.
#[derive(Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(rename = "errorCode")]
    code: Option<String>,
    #[serde(rename = "errorDescription")]
    description: Option<String>,
    #[serde(rename = "errorMessage")]
    message: Option<String>,
}

impl ErrorBody {
    /// The code, if it looks like one; a code goes into scripts and file names.
    pub(super) fn code(&self) -> Option<String> {
        let code = self.code.as_deref()?;
        let plain = code.len() <= 64
            && code
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        (plain && !code.is_empty()).then(|| code.to_owned())
    }

    /// The sentence: description and message, whichever are there.
    fn text(&self) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        answer_to(Call::Batch, status, body)
    }

    fn answer_to(call: Call, status: u16, body: &str) -> Answer {
        interpret(
            call,
            Subject::User,
            status,
            Some(Duration::from_secs(7)),
            Some(body.as_bytes()),
        )
    }

    /// The word for an answer, so that the table below reads as one.
    fn word(answer: &Answer) -> &'static str {
        match answer {
            Answer::Committed => "committed",
            Answer::Refused(_) => "refused",
            Answer::RefusedWhole(_) => "refused whole",
            Answer::TooLarge(_) => "too large",
            Answer::RateLimited { .. } => "rate limited",
            Answer::TryAgain { .. } => "try again",
            Answer::Unknown { .. } => "unknown",
            Answer::Credentials(_) => "credentials",
            Answer::Endpoint(_) => "endpoint",
        }
    }

    #[test]
    fn row_by_row() {
        const NAMES: &str =
            r#"{"failures":[{"appId":"a","userId":"u","errorCode":"E112102","reason":"user not found"}]}"#;
        const ERROR: &str = r#"{"errorCode":"E011001","errorDescription":"bad request"}"#;
        let rows = [
            (200, r#"{"failures":[]}"#, "committed"),
            (200, r#"{"failures":null}"#, "committed"),
            (200, "{}", "committed"),
            (200, r#"{"more":1}"#, "committed"),
            (200, NAMES, "refused"),
            (400, NAMES, "refused"),
            (200, "", "unknown"),
            (200, "<html>", "unknown"),
            (200, r#"{"failures":"x"}"#, "unknown"),
            (200, "[]", "unknown"),
            (200, ERROR, "unknown"),
            (201, "{}", "unknown"),
            (204, "", "unknown"),
            (301, "", "endpoint"),
            (307, "", "endpoint"),
            (400, ERROR, "refused whole"),
            (400, "", "refused whole"),
            (400, r#"{"failures":[]}"#, "refused whole"),
            (401, ERROR, "credentials"),
            (402, "", "endpoint"),
            (403, "", "credentials"),
            (404, "", "endpoint"),
            (405, "", "endpoint"),
            (408, "", "unknown"),
            (409, ERROR, "refused whole"),
            (410, "", "endpoint"),
            (413, "", "too large"),
            (415, "", "endpoint"),
            (422, ERROR, "refused whole"),
            (429, "", "rate limited"),
            (500, ERROR, "unknown"),
            (501, "", "unknown"),
            (502, "", "unknown"),
            (503, "", "try again"),
            (504, "", "unknown"),
            (520, "", "unknown"),
            (521, "", "try again"),
            (522, "", "unknown"),
            (523, "", "try again"),
            (524, "", "unknown"),
            (530, "", "try again"),
            (599, "", "unknown"),
        ];
        for (status, body, expected) in rows {
            assert_eq!(word(&answer(status, body)), expected, "{status} {body}");
        }
        assert_eq!(
            word(&interpret(Call::Batch, Subject::User, 200, None, None)),
            "unknown",
            "a body that broke off"
        );
    }

    #[test]
    fn an_error_about_a_token_by_itself_refuses_that_token() {
        const ERROR: &str = r#"{"errorCode":"E152110","errorDescription":"bad token"}"#;
        let rows = [
            (200, "{}", "committed"),
            (200, ERROR, "unknown"),
            (200, "", "unknown"),
            (400, ERROR, "refused whole"),
            (401, ERROR, "credentials"),
            (403, ERROR, "credentials"),
            (404, ERROR, "refused whole"),
            (404, "", "endpoint"),
            (404, "<html>", "endpoint"),
            (405, "", "endpoint"),
            (409, ERROR, "refused whole"),
            (413, "", "too large"),
            (422, ERROR, "refused whole"),
            (429, ERROR, "rate limited"),
            (500, ERROR, "unknown"),
            (503, "", "try again"),
        ];
        for (status, body, expected) in rows {
            let answer = answer_to(Call::Single, status, body);
            assert_eq!(word(&answer), expected, "{status} {body}");
        }
        let Answer::RefusedWhole(refusal) = answer_to(Call::Single, 404, ERROR) else {
            panic!("not refused")
        };
        assert_eq!(
            (refusal.code.as_ref(), refusal.text.as_str()),
            ("E152110", "bad token")
        );
    }

    #[test]
    fn a_gateway_that_stopped_waiting_does_not_end_the_request() {
        for (status, expected) in [
            (500, false),
            (502, true),
            (504, true),
            (520, true),
            (522, true),
            (524, true),
            (408, true),
        ] {
            assert!(
                matches!(answer(status, ""), Answer::Unknown { under_way, .. } if under_way == expected),
                "{status}"
            );
        }
    }

    #[test]
    fn a_failure_is_named_by_the_id_of_its_variant() {
        let body = r#"{"failures":[{"appId":"a","tenantId":"t","errorCode":"E1","reason":"r"}]}"#;
        let Answer::Refused(named) =
            interpret(Call::Batch, Subject::Tenant, 200, None, Some(body.as_bytes()))
        else {
            panic!("not refused")
        };
        assert_eq!(
            (named[0].app_id.as_str(), named[0].subject_id.as_str()),
            ("a", "t")
        );
        assert_eq!(
            (named[0].refusal.code.as_ref(), named[0].refusal.text.as_str()),
            ("E1", "r")
        );
    }

    #[test]
    fn an_error_body_gives_code_and_text_and_its_absence_the_status() {
        let Answer::RefusedWhole(refusal) = answer(
            400,
            r#"{"errorCode":"E011003","errorDescription":"validation","errorMessage":"x is required"}"#,
        ) else {
            panic!("not refused")
        };
        assert_eq!(
            (refusal.code.as_ref(), refusal.text.as_str()),
            ("E011003", "validation: x is required")
        );
        let Answer::RefusedWhole(refusal) = answer(400, r#"{"errorCode":"E1\n<b>"}"#) else {
            panic!("not refused")
        };
        assert_eq!((refusal.code.as_ref(), refusal.status), ("http_400", Some(400)));
    }
}
