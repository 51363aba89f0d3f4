//! Interpretation of the responses to uploads. Lookups have their own module; both use one table of statuses.
//! Nothing else in the crate decides what a response means.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{error_body::ErrorBody, status::StatusClass};
use crate::domain::{Call, Subject};

/// The outcome of an upload, as far as its response shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadOutcome {
    /// All of it is stored.
    Committed,
    /// Nothing of it is stored because of these tokens. The list may be incomplete.
    Refused(Vec<Named>),
    /// Nothing of it is stored, and the response names no token.
    RefusedWhole(Refusal),
    /// Nothing of it is stored: it is too large.
    TooLarge(Refusal),
    /// Nothing of it is stored: the quota is used up.
    RateLimited {
        /// The wait that the API asks for.
        retry_after: Option<Duration>,
    },
    /// Nothing of it is stored, because it was not processed; a retry may succeed.
    TryAgain(Refusal),
    /// It may or may not be stored.
    Unknown {
        /// The request may still be in flight: there was no response, or none with a code of the service.
        under_way: bool,
        /// The wait that the API asks for before anything is sent again.
        retry_after: Option<Duration>,
        /// The cause.
        refusal: Refusal,
        /// The reason why every other request would fail too, if there is one.
        impasse: Option<Impasse>,
    },
    /// Nothing of it is stored, and every other request would fail too: the service itself says so.
    Hopeless(Impasse, Refusal),
}

/// The reason why every request would fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impasse {
    /// The project ID or the management key is not accepted.
    Credentials,
    /// This is not the API, or not a known version of it.
    Endpoint,
}

/// An item of `failures`. The API names it only by app and user, or by app and tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The outbound app.
    pub app_id: String,
    /// The user for the user variant, the tenant for the tenant variant.
    pub subject_id: String,
    /// The reason.
    pub refusal: Refusal,
}

/// A refusal by the API, or a failure of the connection. Until it is redacted, it may quote a secret: see
/// [`redact`](fn@super::redact).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// The API's `errorCode`, or `http_503`, `timeout` and the like.
    pub code: Cow<'static, str>,
    /// The text of the API, or ours.
    pub text: String,
}

impl Refusal {
    fn new(status: u16, body: &ErrorBody) -> Self {
        let code = body
            .code()
            .map_or_else(|| format!("http_{status}").into(), Into::into);
        let text = body
            .text()
            .unwrap_or_else(|| format!("the API responded {status}"));
        Self {
            status: Some(status),
            code,
            text,
        }
    }

    /// Returns the refusal of a request that got no response.
    pub(super) fn wire(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: None,
            code: code.into(),
            text: text.into(),
        }
    }
}

/// Interprets the response to an upload. `body` is the whole body, or `None` if it could not be read to its
/// end.
pub(super) fn interpret(
    call: Call,
    subject: Subject,
    status: u16,
    retry_after: Option<Duration>,
    body: Option<&[u8]>,
) -> UploadOutcome {
    let error = ErrorBody::of(body);
    let from_service = error.service_code().is_some();
    let refusal = Refusal::new(status, &error);
    let unknown = |refusal, impasse| UploadOutcome::Unknown {
        // A response without a code of the service may be from something in front of it that did not wait for
        // it.
        under_way: !from_service,
        retry_after,
        refusal,
        impasse,
    };
    // A gateway may respond like this after the service has stored everything, or after a second attempt of
    // its own.
    let hopeless = |impasse, refusal| {
        if from_service {
            UploadOutcome::Hopeless(impasse, refusal)
        } else {
            unknown(refusal, Some(impasse))
        }
    };
    match (status, UploadBody::of(call, body)) {
        // The status that comes with failures is not published: 200 and 400 are treated alike.
        (200 | 400, Some(UploadBody::Failures(failures))) => UploadOutcome::Refused(
            failures
                .into_iter()
                .map(|failure| failure.named(subject, status))
                .collect(),
        ),
        (200, Some(UploadBody::Nothing)) => UploadOutcome::Committed,
        // Any other success is not documented, an unreadable body may hide failures, and another object may
        // not be from the API at all: none of them shows what is stored.
        (200..=299, _) => {
            let text = format!("the API responded {status}, but the response does not show what is stored");
            let refusal = Refusal {
                status: Some(status),
                code: "unreadable_answer".into(),
                text,
            };
            unknown(refusal, None)
        }
        // The app, user or tenant of the single token does not exist. A missing path comes without an error
        // code.
        (404, _) if call == Call::Single && from_service => UploadOutcome::RefusedWhole(refusal),
        (_, _) => match StatusClass::of(status) {
            StatusClass::Refused => UploadOutcome::RefusedWhole(refusal),
            StatusClass::TooLarge => UploadOutcome::TooLarge(refusal),
            StatusClass::RateLimited => UploadOutcome::RateLimited { retry_after },
            StatusClass::Indeterminate => unknown(refusal, None),
            StatusClass::Credentials => hopeless(Impasse::Credentials, refusal),
            StatusClass::WrongEndpoint => hopeless(Impasse::Endpoint, refusal),
        },
    }
}

/// The body of a response, if it has the form of the response to an upload.
enum UploadBody {
    /// Nothing failed: `{}`, and for a batch a list of failures that is empty, null or absent. An object with
    /// other keys is the response of something else.
    Nothing,
    /// The failures.
    Failures(Vec<Failure>),
}

impl UploadBody {
    /// Returns `None` for any other form.
    fn of(call: Call, body: Option<&[u8]>) -> Option<Self> {
        let UploadAnswer { failures, others } = serde_json::from_slice(body?).ok()?;
        match (call, failures) {
            (_, Failures::List(failures)) if !failures.is_empty() => failures
                .iter()
                .all(Failure::says_something)
                .then_some(Self::Failures(failures)),
            _ if !others.is_empty() => None,
            (Call::Batch, _) | (Call::Single, Failures::Absent) => Some(Self::Nothing),
            (Call::Single, _) => None,
        }
    }
}

/// The object `{"failures":[…]}`. It is flattened, so that a list in place of the object, or a repeated key,
/// is an error.
#[derive(Deserialize)]
struct UploadAnswer {
    #[serde(default)]
    failures: Failures,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Default)]
enum Failures {
    #[default]
    Absent,
    Null,
    List(Vec<Failure>),
}

impl<'de> Deserialize<'de> for Failures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|list| list.map_or(Self::Null, Self::List))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    app_id: Option<String>,
    user_id: Option<String>,
    tenant_id: Option<String>,
    error_code: Option<String>,
    reason: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    _others: Map<String, Value>,
}

impl Failure {
    /// Returns true if one of these fields is present. An item with none of them is not from this API.
    fn says_something(&self) -> bool {
        let fields = [
            &self.app_id,
            &self.user_id,
            &self.tenant_id,
            &self.error_code,
            &self.reason,
        ];
        fields.into_iter().any(Option::is_some)
    }

    fn named(self, subject: Subject, status: u16) -> Named {
        let subject_id = match subject {
            Subject::User => self.user_id,
            Subject::Tenant => self.tenant_id,
        };
        let error = ErrorBody::of_item(self.error_code, self.reason);
        Named {
            app_id: self.app_id.unwrap_or_default(),
            subject_id: subject_id.unwrap_or_default(),
            refusal: Refusal::new(status, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> UploadOutcome {
        answer_to(Call::Batch, status, body)
    }

    fn answer_to(call: Call, status: u16, body: &str) -> UploadOutcome {
        interpret(
            call,
            Subject::User,
            status,
            Some(Duration::from_secs(7)),
            Some(body.as_bytes()),
        )
    }

    /// Returns a word for an outcome, for the tables below.
    fn word(answer: &UploadOutcome) -> &'static str {
        match answer {
            UploadOutcome::Committed => "committed",
            UploadOutcome::Refused(_) => "refused",
            UploadOutcome::RefusedWhole(_) => "refused whole",
            UploadOutcome::TooLarge(_) => "too large",
            UploadOutcome::RateLimited { .. } => "rate limited",
            UploadOutcome::TryAgain(_) => "try again",
            UploadOutcome::Unknown { impasse: None, .. } => "unknown",
            UploadOutcome::Unknown {
                impasse: Some(Impasse::Credentials),
                ..
            } => "unknown, credentials",
            UploadOutcome::Unknown {
                impasse: Some(Impasse::Endpoint),
                ..
            } => "unknown, endpoint",
            UploadOutcome::Hopeless(Impasse::Credentials, _) => "credentials",
            UploadOutcome::Hopeless(Impasse::Endpoint, _) => "endpoint",
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
            (200, " {\n} ", "committed"),
            (200, NAMES, "refused"),
            (400, NAMES, "refused"),
            (
                200,
                r#"{"failures":[{"appId":"a","more":1}],"total":1}"#,
                "refused",
            ),
            (200, "", "unknown"),
            (200, "<html>", "unknown"),
            (200, "null", "unknown"),
            (200, "true", "unknown"),
            (200, "[]", "unknown"),
            (200, "[null]", "unknown"),
            (200, "[[]]", "unknown"),
            (200, r#"{"more":1}"#, "unknown"),
            (200, r#"{"failures":[],"more":1}"#, "unknown"),
            (200, r#"{"failures":null,"errorCode":null}"#, "unknown"),
            (200, r#"{"Failures":[]}"#, "unknown"),
            (200, r#"{"error":"upstream unavailable"}"#, "unknown"),
            (200, r#"{"message":"Forbidden"}"#, "unknown"),
            (200, r#"{"success":false}"#, "unknown"),
            (200, r#"{"failures":"x"}"#, "unknown"),
            (200, r#"{"failures":""}"#, "unknown"),
            (200, r#"{"failures":0}"#, "unknown"),
            (200, r#"{"failures":false}"#, "unknown"),
            (200, r#"{"failures":{}}"#, "unknown"),
            (200, r#"{"failures":[null]}"#, "unknown"),
            (200, r#"{"failures":["a"]}"#, "unknown"),
            (200, r#"{"failures":[{}]}"#, "unknown"),
            (200, r#"{"failures":[{"message":"no upstream"}]}"#, "unknown"),
            (200, r#"{"failures":[["a","u","t","E1","no"]]}"#, "unknown"),
            (200, r#"{"failures":[{"appId":7}]}"#, "unknown"),
            (200, r#"{"failures":[{"appId":"a","errorCode":7}]}"#, "unknown"),
            (200, r#"{"failures":[{"appId":"a"},{"userId":["u"]}]}"#, "unknown"),
            (200, r#"{"failures":[],"failures":[{"appId":"a"}]}"#, "unknown"),
            (200, r#"{"failures":[{"appId":"a"}],"failures":[]}"#, "unknown"),
            (200, r#"{"failures":[]"#, "unknown"),
            (200, r#"{"failures":[]}{}"#, "unknown"),
            (200, ERROR, "unknown"),
            (201, "{}", "unknown"),
            (204, "", "unknown"),
            (301, "", "unknown, endpoint"),
            (307, "", "unknown, endpoint"),
            (400, ERROR, "refused whole"),
            (400, "", "refused whole"),
            (400, r#"{"failures":[]}"#, "refused whole"),
            (307, ERROR, "endpoint"),
            (401, ERROR, "credentials"),
            (401, "", "unknown, credentials"),
            (402, "", "unknown, endpoint"),
            (403, "", "unknown, credentials"),
            (403, ERROR, "credentials"),
            (404, ERROR, "endpoint"),
            (404, "", "unknown, endpoint"),
            (404, r#"{"errorCode":"NO_ROUTE"}"#, "unknown, endpoint"),
            (405, "", "unknown, endpoint"),
            (408, "", "unknown"),
            (409, ERROR, "refused whole"),
            (410, "", "unknown, endpoint"),
            (413, "", "too large"),
            (415, "", "unknown, endpoint"),
            (422, ERROR, "refused whole"),
            (429, "", "rate limited"),
            (500, ERROR, "unknown"),
            (501, "", "unknown"),
            (502, "", "unknown"),
            (503, "", "unknown"),
            (504, "", "unknown"),
            (520, "", "unknown"),
            (521, "", "unknown"),
            (522, "", "unknown"),
            (523, "", "unknown"),
            (524, "", "unknown"),
            (530, "", "unknown"),
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
            (200, r#"{"failures":[]}"#, "unknown"),
            (200, r#"{"failures":null}"#, "unknown"),
            (200, r#"{"token":null}"#, "unknown"),
            (200, r#"{"message":"Forbidden"}"#, "unknown"),
            (200, "[]", "unknown"),
            (200, ERROR, "unknown"),
            (200, "", "unknown"),
            (400, ERROR, "refused whole"),
            (401, ERROR, "credentials"),
            (403, ERROR, "credentials"),
            (404, ERROR, "refused whole"),
            (404, "", "unknown, endpoint"),
            (404, "<html>", "unknown, endpoint"),
            (404, r#"{"errorCode":"NO_ROUTE"}"#, "unknown, endpoint"),
            (405, "", "unknown, endpoint"),
            (409, ERROR, "refused whole"),
            (413, "", "too large"),
            (422, ERROR, "refused whole"),
            (429, ERROR, "rate limited"),
            (500, ERROR, "unknown"),
            (503, "", "unknown"),
        ];
        for (status, body, expected) in rows {
            let answer = answer_to(Call::Single, status, body);
            assert_eq!(word(&answer), expected, "{status} {body}");
        }
        let UploadOutcome::RefusedWhole(refusal) = answer_to(Call::Single, 404, ERROR) else {
            panic!("not refused")
        };
        assert_eq!(
            (refusal.code.as_ref(), refusal.text.as_str()),
            ("E152110", "bad token")
        );
    }

    #[test]
    fn only_the_services_own_answer_ends_a_request_of_which_nobody_tells_what_became() {
        const OWN: &str = r#"{"errorCode":"E011001","errorDescription":"bad request"}"#;
        const ANOTHERS: &str = r#"{"errorCode":"gateway_timeout"}"#;
        for status in [
            200, 202, 408, 500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 530,
        ] {
            for (body, expected) in [(OWN, false), (ANOTHERS, true), ("", true)] {
                let UploadOutcome::Unknown {
                    under_way,
                    retry_after,
                    ..
                } = answer(status, body)
                else {
                    panic!("{status} {body}")
                };
                assert_eq!(under_way, expected, "{status} {body}");
                assert_eq!(retry_after, Some(Duration::from_secs(7)), "{status} {body}");
            }
        }
    }

    #[test]
    fn a_failure_is_named_by_the_id_of_its_variant() {
        let body = r#"{"failures":[{"appId":"a","tenantId":"t","errorCode":"E1","reason":"r"}]}"#;
        let UploadOutcome::Refused(named) =
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
        let UploadOutcome::RefusedWhole(refusal) = answer(
            400,
            r#"{"errorCode":"E011003","errorDescription":"validation","errorMessage":"x is required"}"#,
        ) else {
            panic!("not refused")
        };
        assert_eq!(
            (refusal.code.as_ref(), refusal.text.as_str()),
            ("E011003", "validation: x is required")
        );
        let UploadOutcome::RefusedWhole(refusal) = answer(400, r#"{"errorCode":"E1\n<b>"}"#) else {
            panic!("not refused")
        };
        assert_eq!((refusal.code.as_ref(), refusal.status), ("http_400", Some(400)));
    }
}
