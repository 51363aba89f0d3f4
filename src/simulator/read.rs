//! Fetching tokens: the latest one of an owner, or the one that has exactly certain scopes. A fetch refreshes
//! what has expired. And the apps that a user has tokens for.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, body::Bytes, extract::State, http::Uri, response::Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::simulator::{
    api::Api,
    check::Subject,
    decode::{decode, filled, query, required},
    destination::{Destination, Wanted},
    faults::Call,
    inject_fault::perform,
    refusal::Refusal,
    rules::ExpiryFormat,
    stored_token::StoredToken,
    wire::{Absent, FoundAnswer, FoundToken, Lookup},
};

type Shared = State<Arc<Api>>;

/// Selects one of an owner's tokens.
#[derive(Debug, Clone, Copy)]
enum By {
    /// The latest.
    Recency,
    /// The one with exactly the scopes that were sent, none of them included.
    Scopes,
}

pub(super) async fn user_latest(State(api): Shared, body: Bytes) -> Response {
    lookup::<Option<String>, Absent>(api, Subject::User, By::Recency, body).await
}

pub(super) async fn user_with_scopes(State(api): Shared, body: Bytes) -> Response {
    lookup::<Option<String>, Option<Vec<String>>>(api, Subject::User, By::Scopes, body).await
}

pub(super) async fn tenant_latest(State(api): Shared, body: Bytes) -> Response {
    lookup::<Absent, Absent>(api, Subject::Tenant, By::Recency, body).await
}

pub(super) async fn tenant_with_scopes(State(api): Shared, body: Bytes) -> Response {
    lookup::<Absent, Option<Vec<String>>>(api, Subject::Tenant, By::Scopes, body).await
}

async fn lookup<User, Scopes>(api: Arc<Api>, subject: Subject, by: By, body: Bytes) -> Response
where
    Lookup<User, Scopes>: DeserializeOwned,
    User: Into<Option<String>> + Send + 'static,
    Scopes: Into<Option<Vec<String>>> + Send + 'static,
{
    let wanted = decode::<Lookup<User, Scopes>>(&body);
    perform(api, Call::Read, move |api| find(api, subject, by, wanted?)).await
}

fn find<User, Scopes>(
    api: &Api,
    subject: Subject,
    by: By,
    wanted: Lookup<User, Scopes>,
) -> Result<Json<FoundAnswer>, Refusal>
where
    User: Into<Option<String>>,
    Scopes: Into<Option<Vec<String>>>,
{
    let user_id = filled(wanted.user_id.into());
    let tenant_id = filled(wanted.tenant_id);
    let app_id = required("appId", wanted.app_id)?;
    if subject == Subject::User && user_id.is_none() {
        return Err(Refusal::invalid_arguments("userId is required"));
    }
    if subject == Subject::Tenant && tenant_id.is_none() {
        return Err(Refusal::invalid_arguments("tenantId is required"));
    }
    let options = wanted.options.unwrap_or_default();
    let rules = api.rules.lock();
    let wanted = Wanted {
        destination: Destination {
            app_id,
            user_id,
            tenant_id,
            external_identifier: filled(wanted.external_identifier),
            scopes: BTreeSet::new(),
        },
        scopes: match by {
            By::Recency => None,
            By::Scopes => Some(wanted.scopes.into().unwrap_or_default().into_iter().collect()),
        },
        without_tenant: rules.without_tenant,
    };
    let mut store = api.store.lock();
    let force_refresh = options.force_refresh.unwrap_or(false);
    let token = store
        .fetch(&wanted, &rules, force_refresh, chrono::Utc::now().timestamp())
        .ok_or_else(|| Refusal::token_not_found(rules.token_not_found_status))?;
    let token = found(
        token,
        options.with_refresh_token.unwrap_or(false),
        rules.expiry_format,
    );
    Ok(Json(FoundAnswer { token }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfUser {
    user_id: Option<String>,
    tenant_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppsWithToken {
    app_ids: BTreeSet<String>,
}

/// The apps that a user holds a token for that is valid now: what has expired is left out, so this proves no
/// absence.
pub(super) async fn apps_with_user_token(State(api): Shared, uri: Uri) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted: OfUser = query(&uri)?;
        let user_id = required("userId", wanted.user_id)?;
        let tenant_id = filled(wanted.tenant_id);
        let now = chrono::Utc::now().timestamp();
        let store = api.store.lock();
        Ok(Json(AppsWithToken {
            app_ids: store.apps_with_token(&user_id, tenant_id.as_deref(), now),
        }))
    })
    .await
}

fn found(token: &StoredToken, with_refresh_token: bool, expiry_format: ExpiryFormat) -> FoundToken {
    let refresh_token = token.refresh_token.as_ref().filter(|_| with_refresh_token);
    FoundToken {
        id: token.id.clone(),
        app_id: token.destination.app_id.clone(),
        user_id: token.destination.user_id.clone().unwrap_or_default(),
        token_sub: String::new(),
        access_token: token.exposed_access_token().unwrap_or_default().to_owned(),
        access_token_type: token
            .access_token_type
            .clone()
            .unwrap_or_else(|| "Bearer".to_owned()),
        access_token_expiry: expiry_format.write(token.access_token_expiry),
        has_refresh_token: token.refresh_token.is_some(),
        refresh_token: refresh_token.map(|token| token.reveal().to_owned()),
        last_refresh_time: token.last_refresh_time.to_string(),
        last_refresh_error: token.last_refresh_error.clone(),
        scopes: token.scopes.clone(),
        tenant_id: token.destination.tenant_id.clone(),
        granted_by: token.granted_by.clone(),
        external_identifier: token.destination.external_identifier.clone(),
    }
}
