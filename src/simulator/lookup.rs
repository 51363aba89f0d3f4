//! Asking for apps, tenants, users and the licence, one by one or all at once.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::Uri,
    response::Response,
};
use serde::{Deserialize, Serialize};

use crate::simulator::{
    api::Api,
    decode::{decode, filled, query, required},
    directory::{App, User, UserStatus},
    faults::Call,
    inject_fault::perform,
    refusal::Refusal,
};

type Shared = State<Arc<Api>>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LicenseAnswer {
    rate_limit_tier: String,
}

pub(super) async fn license(State(api): Shared) -> Response {
    perform(api, Call::License, |api| {
        let rate_limit_tier = api.license.lock().tier.clone();
        Ok(Json(LicenseAnswer { rate_limit_tier }))
    })
    .await
}

/// An app in an answer: the fields that matter here, and a secret one that a client must not repeat.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundApp {
    id: String,
    name: String,
    description: &'static str,
    client_id: &'static str,
    client_secret: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_type: Option<String>,
}

#[derive(Serialize)]
struct AppAnswer {
    app: FoundApp,
}

#[derive(Serialize)]
struct AppsAnswer {
    apps: Vec<FoundApp>,
}

impl From<App> for FoundApp {
    fn from(app: App) -> Self {
        Self {
            name: app.id.clone(),
            id: app.id,
            description: "",
            client_id: "simulated-client-id",
            client_secret: "simulated-client-secret",
            app_type: app.app_type,
        }
    }
}

pub(super) async fn app(State(api): Shared, Path(id): Path<String>) -> Response {
    perform(api, Call::Lookup, move |api| {
        let app = api.directory.lock().app(&id);
        let app = app.ok_or_else(Refusal::app_not_found)?.into();
        Ok(Json(AppAnswer { app }))
    })
    .await
}

pub(super) async fn apps(State(api): Shared) -> Response {
    perform(api, Call::Lookup, |api| {
        let apps = api.directory.lock().apps();
        let apps = apps.into_iter().map(Into::into).collect();
        Ok(Json(AppsAnswer { apps }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantQuery {
    id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundTenant {
    id: String,
    name: String,
    self_provisioning_domains: Vec<String>,
    created_time: i64,
}

#[derive(Serialize)]
struct TenantsAnswer {
    tenants: Vec<FoundTenant>,
}

fn found_tenant(id: String) -> FoundTenant {
    FoundTenant {
        name: id.clone(),
        id,
        self_provisioning_domains: Vec::new(),
        created_time: 0,
    }
}

pub(super) async fn tenant(State(api): Shared, uri: Uri) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted: TenantQuery = query(&uri)?;
        let id = required("id", wanted.id)?;
        if api.directory.lock().has_tenant(&id) {
            Ok(Json(found_tenant(id)))
        } else {
            Err(Refusal::tenant_not_found())
        }
    })
    .await
}

pub(super) async fn tenants(State(api): Shared) -> Response {
    perform(api, Call::Lookup, |api| {
        let tenants = api.directory.lock().tenants();
        let tenants = tenants.into_iter().map(found_tenant).collect();
        Ok(Json(TenantsAnswer { tenants }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserQuery {
    login_id: Option<String>,
    user_id: Option<String>,
}

/// A user in an answer: the fields that matter here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundUser {
    login_ids: Vec<String>,
    user_id: String,
    name: &'static str,
    email: String,
    phone: &'static str,
    verified_email: bool,
    role_names: Vec<String>,
    user_tenants: Vec<String>,
    status: &'static str,
    test: bool,
    created_time: i64,
}

impl From<User> for FoundUser {
    fn from(user: User) -> Self {
        Self {
            login_ids: user.login_ids,
            user_id: user.user_id,
            name: "",
            verified_email: user.email.is_some(),
            email: user.email.unwrap_or_default(),
            phone: "",
            role_names: Vec::new(),
            user_tenants: Vec::new(),
            status: user.status.as_str(),
            test: user.test,
            created_time: 0,
        }
    }
}

#[derive(Serialize)]
struct UserAnswer {
    user: FoundUser,
}

/// The answer to a bulk load or a search.
#[derive(Serialize)]
pub(super) struct UsersAnswer {
    pub(super) users: Vec<FoundUser>,
    pub(super) total: usize,
}

pub(super) async fn user(State(api): Shared, uri: Uri) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted: UserQuery = query(&uri)?;
        let rules = api.rules.lock();
        let directory = api.directory.lock();
        let found = match (filled(wanted.user_id), filled(wanted.login_id)) {
            (Some(user_id), _) => directory.user(&user_id),
            (None, Some(login_id)) => {
                let found = directory.users_with_login_id(&login_id, rules.login_ids_in_any_case);
                found.into_iter().next()
            }
            (None, None) => return Err(Refusal::invalid_arguments("loginId or userId is required")),
        };
        let user = found
            .ok_or_else(|| Refusal::user_not_found(rules.user_not_found_status))?
            .into();
        Ok(Json(UserAnswer { user }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadUsers {
    user_ids: Option<Vec<String>>,
    include_invalid_users: Option<bool>,
}

/// Users who are not there are left out. Who counts as invalid is not published: here it is who may not sign
/// in, so that a client that forgets to ask for them takes them for unknown.
pub(super) async fn users(State(api): Shared, body: Bytes) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted: LoadUsers = decode(&body)?;
        let user_ids = wanted.user_ids.unwrap_or_default();
        let rules = api.rules.lock();
        if user_ids.is_empty() {
            return Err(Refusal::invalid_arguments("userIds must not be empty"));
        }
        if user_ids.len() > rules.max_listed {
            return Err(Refusal::invalid_arguments("too many userIds"));
        }
        let all = wanted.include_invalid_users.unwrap_or(false);
        let directory = api.directory.lock();
        let found = user_ids.iter().filter_map(|id| directory.user(id));
        let users: Vec<FoundUser> = found
            .filter(|user| all || user.status != UserStatus::Disabled)
            .map(Into::into)
            .collect();
        let total = users.len();
        Ok(Json(UsersAnswer { users, total }))
    })
    .await
}
