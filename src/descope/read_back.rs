//! Reading one token back, to learn what became of its batch.

use std::time::Duration;

use serde::Serialize;

use super::{Refusal, answer::ErrorBody, stored::ReadAnswer, wire::EncodedSecrets};
use crate::model::{EncodedToken, Probe, Secret};

/// The value that was sent, by which the probed token is recognised.
#[must_use]
pub fn sent_value(probe: &Probe, encoded: &EncodedToken) -> Option<Secret> {
    let secrets = EncodedSecrets::of(encoded)?;
    if probe.by_refresh_token {
        secrets.refresh
    } else {
        secrets.access
    }
}

/// `…/token/latest`; it rejects a `scopes` field.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadRequest<'a> {
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<ReadOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_identifier: Option<&'a str>,
}

impl<'a> ReadRequest<'a> {
    pub(super) fn new(probe: &'a Probe) -> Self {
        Self {
            app_id: &probe.app_id,
            user_id: probe.user_id.as_deref(),
            tenant_id: probe.tenant_id.as_deref(),
            // Never `forceRefresh`: asking must not change what is there.
            options: probe.by_refresh_token.then_some(ReadOptions {
                with_refresh_token: true,
            }),
            external_identifier: probe.external_identifier.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadOptions {
    with_refresh_token: bool,
}

/// What reading back found.
#[derive(Debug)]
pub enum ReadBack {
    /// A token is there; its value is to be compared with what was sent.
    Found(Secret),
    /// There is none.
    Absent,
    /// The latest token of this app and user belongs to another tenant, or has another external identifier: whether the one
    /// asked for stands behind it is not said.
    Another,
    /// The quota is used up.
    RateLimited {
        /// How long the API asks us to wait.
        retry_after: Option<Duration>,
    },
    /// No usable answer; asking again may help.
    TryAgain(Refusal),
    /// The project ID or the management key is not accepted.
    Credentials(Refusal),
    /// The API does not let us read: it will not answer this question.
    Refused(Refusal),
}

/// What an answer to reading back means.
pub(super) fn interpret(
    probe: &Probe,
    status: u16,
    retry_after: Option<Duration>,
    body: Option<&[u8]>,
) -> ReadBack {
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
    match status {
        200 => match body.map(serde_json::from_slice::<ReadAnswer>) {
            Some(Ok(ReadAnswer { token: Some(token) })) if !token.is_of(probe) => ReadBack::Another,
            Some(Ok(ReadAnswer { token })) => {
                let value = token.and_then(|token| {
                    if probe.by_refresh_token {
                        token.refresh_token
                    } else {
                        token.access_token
                    }
                });
                value
                    .filter(|value| !value.reveal().is_empty())
                    .map_or(ReadBack::Absent, ReadBack::Found)
            }
            _ => ReadBack::TryAgain(refusal("the answer could not be read")),
        },
        // An entity that is not there comes with a Descope error code; a path that is not there comes without.
        404 if code.is_some() => ReadBack::Absent,
        // E112102 and E062108: user not found. A user who is not there has no token.
        400 if matches!(code.as_deref(), Some("E112102" | "E062108")) => ReadBack::Absent,
        401 => ReadBack::Credentials(refusal("the API does not accept the credentials")),
        429 => ReadBack::RateLimited { retry_after },
        408 | 500.. => ReadBack::TryAgain(refusal("no usable answer")),
        _ => ReadBack::Refused(refusal("the API does not let tokens be read back")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subject;

    fn probe(tenant_id: Option<&str>, external_identifier: Option<&str>) -> Probe {
        Probe {
            subject: Subject::User,
            app_id: "app".into(),
            user_id: Some("user".into()),
            tenant_id: tenant_id.map(Into::into),
            external_identifier: external_identifier.map(Into::into),
            by_refresh_token: false,
        }
    }

    fn word(probe: &Probe, status: u16, body: &str) -> &'static str {
        match interpret(probe, status, None, Some(body.as_bytes())) {
            ReadBack::Found(_) => "found",
            ReadBack::Absent => "absent",
            ReadBack::Another => "another",
            ReadBack::RateLimited { .. } => "rate limited",
            ReadBack::TryAgain(_) => "try again",
            ReadBack::Credentials(_) => "credentials",
            ReadBack::Refused(_) => "refused",
        }
    }

    #[test]
    fn row_by_row() {
        let rows = [
            (
                200,
                r#"{"token":{"accessToken":"a","accessTokenExpiry":"17"}}"#,
                "found",
            ),
            (200, r#"{"token":{"accessToken":""}}"#, "absent"),
            (200, r#"{"token":null}"#, "absent"),
            (200, "{}", "absent"),
            (200, "garbage", "try again"),
            (400, r#"{"errorCode":"E112102"}"#, "absent"),
            (400, r#"{"errorCode":"E011001"}"#, "refused"),
            (401, "", "credentials"),
            (403, "", "refused"),
            (404, r#"{"errorCode":"E062108"}"#, "absent"),
            (404, "not found", "refused"),
            (429, "", "rate limited"),
            (503, "", "try again"),
        ];
        for (status, body, expected) in rows {
            assert_eq!(
                word(&probe(None, None), status, body),
                expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn a_token_of_another_place_says_nothing() {
        let rows = [
            (None, None, r#"{"accessToken":"a","tenantId":"t"}"#, "another"),
            (
                None,
                None,
                r#"{"accessToken":"a","externalIdentifier":"x"}"#,
                "another",
            ),
            (
                None,
                None,
                r#"{"accessToken":"a","tenantId":"","externalIdentifier":null}"#,
                "found",
            ),
            (Some("t"), None, r#"{"accessToken":"a","tenantId":"t"}"#, "found"),
            (
                Some("t"),
                None,
                r#"{"accessToken":"a","tenantId":"t","externalIdentifier":"x"}"#,
                "another",
            ),
            (
                Some("t"),
                Some("x"),
                r#"{"accessToken":"a","tenantId":"t","externalIdentifier":"x"}"#,
                "found",
            ),
            (Some("t"), Some("x"), r#"{"accessToken":"a"}"#, "found"),
        ];
        for (tenant, external, token, expected) in rows {
            let body = format!(r#"{{"token":{token}}}"#);
            assert_eq!(
                word(&probe(tenant, external), 200, &body),
                expected,
                "{tenant:?} {external:?} {token}"
            );
        }
    }
}
