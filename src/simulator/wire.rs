//! The JSON of requests and answers, exactly as strict as the API's gateway.
//!
//! Two calls that differ by one field share a struct; the field that one of them does not have is of the
//! type [`Absent`] there, which refuses it like any unknown field (even a `null`).
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::secret::Secret;

/// The message by which [`Absent`] tells `decode` that the field does not exist in this call.
pub(super) const ABSENT: &str = "unknown here";

/// A field that the call does not have.
#[derive(Debug, Default)]
pub(super) struct Absent;

impl<'de> Deserialize<'de> for Absent {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(ABSENT))
    }
}

impl From<Absent> for Option<String> {
    fn from(_: Absent) -> Self {
        None
    }
}

impl From<Absent> for Option<bool> {
    fn from(_: Absent) -> Self {
        None
    }
}

impl From<Absent> for Option<Vec<String>> {
    fn from(_: Absent) -> Self {
        None
    }
}

/// One token: `User` is the type of `userId`, `Verify` that of `verifyRefresh`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the API's names")]
pub(super) struct Token<User, Verify> {
    pub(super) app_id: Option<String>,
    #[serde(default)]
    pub(super) user_id: User,
    pub(super) tenant_id: Option<String>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) access_token: Option<Secret>,
    pub(super) access_token_expiry: Option<i32>,
    pub(super) access_token_type: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) external_identifier: Option<String>,
    pub(super) id_token: Option<Secret>,
    pub(super) granted_by: Option<String>,
    #[serde(default)]
    pub(super) verify_refresh: Verify,
}

/// A user's token in a batch.
pub(super) type UserItem = Token<Option<String>, Absent>;
/// A tenant's token in a batch.
pub(super) type TenantItem = Token<Absent, Absent>;
/// A user's token by itself.
pub(super) type UserUpload = Token<Option<String>, Option<bool>>;
/// A tenant's token by itself.
pub(super) type TenantUpload = Token<Absent, Option<bool>>;

/// An API key by itself: `User` is the type of `userId`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApiKeyUpload<User> {
    pub(super) app_id: Option<String>,
    #[serde(default)]
    pub(super) user_id: User,
    pub(super) tenant_id: Option<String>,
    pub(super) api_key: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<Item> {
    pub(super) tokens: Option<Vec<Item>>,
}

/// Asks for a token: `User` is the type of `userId`, `Scopes` that of `scopes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Lookup<User, Scopes> {
    pub(super) app_id: Option<String>,
    #[serde(default)]
    pub(super) user_id: User,
    pub(super) tenant_id: Option<String>,
    pub(super) options: Option<LookupOptions>,
    pub(super) external_identifier: Option<String>,
    #[serde(default)]
    pub(super) scopes: Scopes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LookupOptions {
    pub(super) with_refresh_token: Option<bool>,
    pub(super) force_refresh: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the API's names")]
pub(super) struct ErrorBody {
    pub(super) error_code: &'static str,
    pub(super) error_description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct BatchAnswer {
    pub(super) failures: Vec<Failure>,
}

/// Carries no index and no external identifier, like the real one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    pub(super) app_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant_id: Option<String>,
    pub(super) error_code: &'static str,
    pub(super) reason: &'static str,
}

/// The answer to a lookup. No `Debug`: it holds tokens in the clear.
#[derive(Serialize)]
pub(super) struct FoundAnswer {
    pub(super) token: FoundToken,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundToken {
    pub(super) id: String,
    pub(super) app_id: String,
    pub(super) user_id: String,
    pub(super) token_sub: String,
    pub(super) access_token: String,
    pub(super) access_token_type: String,
    /// See [`ExpiryFormat`](crate::simulator::ExpiryFormat).
    pub(super) access_token_expiry: serde_json::Value,
    pub(super) has_refresh_token: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    pub(super) last_refresh_time: String,
    pub(super) last_refresh_error: String,
    pub(super) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) granted_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external_identifier: Option<String>,
}
