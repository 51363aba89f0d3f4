//! The tokens that are kept of social logins.

use std::sync::Arc;

use axum::{Json, extract::State, http::Uri, response::Response};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    secret::Secret,
    simulator::{
        api::Api,
        decode::{query, required},
        directory::ProviderToken,
        faults::Call,
        inject_fault::perform,
        refusal::Refusal,
    },
};

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

/// If no users are listed, every user has a token of every provider, made of the login ID. A renewed access
/// token is the old one with a suffix; without a refresh token there is no renewal.
pub(super) async fn token(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted: Wanted = query(&uri)?;
        let login_id = required("loginId", wanted.login_id)?;
        let provider = required("provider", wanted.provider)?;
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
        Ok(Json(Found {
            provider,
            provider_user_id: kept.provider_user_id,
            access_token: kept.access_token.reveal().to_owned() + renewed,
            expiration: kept.expiration,
            scopes: kept.scopes,
            refresh_token: refresh_token
                .filter(|_| wanted.with_refresh_token)
                .map(str::to_owned),
        }))
    })
    .await
}
