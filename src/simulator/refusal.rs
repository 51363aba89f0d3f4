//! Answers that refuse a request, in the error format of the API.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::simulator::wire::ErrorBody;

pub(super) const BAD_REQUEST: &str = "E011001";
pub(super) const MISSING_ARGUMENTS: &str = "E011002";
pub(super) const VALIDATION: &str = "E011003";
pub(super) const INVALID_ARGUMENTS: &str = "E011004";
pub(super) const USER_NOT_FOUND: &str = "E112102";
pub(super) const BAD_TOKEN: &str = "E152110";
pub(super) const RATE_LIMITED: &str = "E130429";
/// The real code is not published; clients go by the status.
pub(super) const UNAUTHORIZED: &str = "E061003";
/// The real code is not published; clients go by the status.
pub(super) const WRONG_LICENSE: &str = "E061004";
pub(super) const TOKEN_NOT_FOUND: &str = "E111504";
/// The real code is not published; clients go by the status.
pub(super) const APP_NOT_FOUND: &str = "E152102";
/// The real code is not published; clients go by the status.
pub(super) const TENANT_NOT_FOUND: &str = "E074101";

/// The real code is not published.
pub(super) const PROVIDER_TOKEN_NOT_FOUND: &str = "E062404";
/// The real code is not published.
pub(super) const TOKENS_NOT_MANAGED: &str = "E062403";

/// Why a whole request is refused. Its text never quotes a value of the request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    description: &'static str,
    message: Option<String>,
    retry_after: Option<HeaderValue>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self {
            status,
            code: Some(code),
            description,
            message: None,
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..Self::new(StatusCode::BAD_REQUEST, BAD_REQUEST, "Bad request")
        }
    }

    pub(super) fn invalid_arguments(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..Self::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENTS, "Invalid arguments")
        }
    }

    /// The failure of a call that carries one token. A batch would list it.
    pub(super) fn item(code: &'static str, reason: &str) -> Self {
        Self {
            message: Some(reason.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, code, "Request is invalid")
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            UNAUTHORIZED,
            "Invalid project ID or management key",
        )
    }

    pub(super) fn wrong_license() -> Self {
        Self::new(StatusCode::FORBIDDEN, WRONG_LICENSE, "License does not match")
    }

    /// With the status that the rules say.
    pub(super) fn token_not_found(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
        Self::new(status, TOKEN_NOT_FOUND, "Token not found")
    }

    pub(super) fn app_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, APP_NOT_FOUND, "Outbound app not found")
    }

    pub(super) fn tenant_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, TENANT_NOT_FOUND, "Tenant not found")
    }

    pub(super) fn provider_token_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            PROVIDER_TOKEN_NOT_FOUND,
            "Provider token not found",
        )
    }

    pub(super) fn tokens_not_managed() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            TOKENS_NOT_MANAGED,
            "Tokens of this provider are not managed",
        )
    }

    /// With the status that the rules say.
    pub(super) fn user_not_found(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, USER_NOT_FOUND, "User not found")
    }

    pub(super) fn rate_limited(retry_after: HeaderValue) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                RATE_LIMITED,
                "API rate limit exceeded",
            )
        }
    }

    /// A refusal by the gateway in front of the application, which knows no Descope error body.
    pub(super) fn payload_too_large() -> Self {
        Self {
            code: None,
            ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "", "Payload too large")
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.code {
            Some(code) => {
                let body = ErrorBody {
                    error_code: code,
                    error_description: self.description,
                    error_message: self.message,
                };
                (self.status, Json(body)).into_response()
            }
            None => (self.status, self.description).into_response(),
        };
        if let Some(retry_after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}
