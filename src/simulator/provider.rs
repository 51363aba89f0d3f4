//! The tokens that are kept of social logins.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    secret::Secret,
    simulator::{
        api::Api,
        check::filled,
        lookup::{answer, query},
        refusal::Refusal,
    },
};

/// A token that is kept of a social login.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderToken {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token; only handed out to who asks for it.
    pub refresh_token: Option<Secret>,
    /// When the access token expires, in epoch seconds; 0 if unknown.
    #[serde(default)]
    pub expiration: i64,
    /// What was granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Who the user is to the provider.
    #[serde(default)]
    pub provider_user_id: String,
}

impl ProviderToken {
    /// An access token that never expires.
    #[must_use]
    pub fn new(access_token: impl Into<String>) -> Self {
        Self {
            access_token: Secret::new(access_token),
            refresh_token: None,
            expiration: 0,
            scopes: Vec::new(),
            provider_user_id: String::new(),
        }
    }

    /// The same with a refresh token.
    #[must_use]
    pub fn with_refresh_token(self, refresh_token: impl Into<String>) -> Self {
        Self {
            refresh_token: Some(Secret::new(refresh_token)),
            ..self
        }
    }

    /// The same with an expiry, in epoch seconds.
    #[must_use]
    pub fn expiring_at(self, expiration: i64) -> Self {
        Self { expiration, ..self }
    }

    /// The same with scopes.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            ..self
        }
    }
}

/// The public reference calls the two flags booleans, and the SDKs write them in their own language's way.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    login_id: Option<String>,
    provider: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    with_refresh_token: bool,
    #[serde(default, deserialize_with = "flag")]
    force_refresh: bool,
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "true" | "True" => Ok(true),
        "false" | "False" => Ok(false),
        _ => Err(D::Error::custom("must be true or false")),
    }
}

/// The answer, in the clear.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    provider: String,
    provider_user_id: String,
    access_token: String,
    expiration: i64,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// Where no users are listed, everybody has a token of every provider, made of the login ID. A renewed access token is the
/// old one with a word behind it; without a refresh token there is no renewal.
pub(super) async fn token(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    answer(api, move |api| {
        let wanted: Wanted = query(&uri)?;
        let login_id =
            filled(wanted.login_id).ok_or_else(|| Refusal::invalid_arguments("loginId is required"))?;
        let provider =
            filled(wanted.provider).ok_or_else(|| Refusal::invalid_arguments("provider is required"))?;
        let rules = api.rules.lock();
        let directory = api.directory.lock();
        let user = directory
            .users_with_login_id(&login_id, rules.login_ids_in_any_case)
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::user_not_found(rules.user_not_found_status))?;
        if rules.unmanaged_providers.contains(&provider) {
            return Err(Refusal::tokens_not_managed());
        }
        let kept = if directory.lists_users() {
            user.provider_tokens.get(&provider).cloned()
        } else {
            let token = |kind: &str| format!("{provider}-{kind}-of-{login_id}");
            Some(ProviderToken::new(token("access")).with_refresh_token(token("refresh")))
        };
        let kept = kept.ok_or_else(Refusal::provider_token_not_found)?;
        let refresh_token = kept.refresh_token.as_ref().map(Secret::reveal);
        let renewed = if wanted.force_refresh && refresh_token.is_some() {
            "-renewed"
        } else {
            ""
        };
        Ok(Found {
            provider,
            provider_user_id: kept.provider_user_id,
            access_token: kept.access_token.reveal().to_owned() + renewed,
            expiration: kept.expiration,
            scopes: kept.scopes,
            refresh_token: refresh_token
                .filter(|_| wanted.with_refresh_token)
                .map(str::to_owned),
        })
    })
    .await
}
