//! The search for users.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, body::Bytes, extract::State, response::Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::simulator::{
    api::Api,
    decode::decode,
    directory::{Directory, User},
    faults::Call,
    inject_fault::perform,
    lookup::UsersAnswer,
    refusal::Refusal,
    rules::Rules,
};

/// The number of users in an answer, unless the caller says otherwise (public reference).
const DEFAULT_LIMIT: usize = 100;

/// Fields that the API knows (public reference and official SDKs) and the stand-in has no use for: only
/// values that filter nothing are accepted, since an answer without the filter would be a wrong one.
const WITHOUT_EFFECT: &[&str] = &[
    "customAttributes",
    "dependent",
    "familyIds",
    "fromCreatedTime",
    "fromModifiedTime",
    "includeSubTenants",
    "lockReasons",
    "offset",
    "password",
    "phones",
    "roleNames",
    "scim",
    "scimOnly",
    "selectedColumns",
    "sort",
    "ssoAppIds",
    "ssoOnly",
    "tempLockReasons",
    "tenantIds",
    "tenantRoleIds",
    "tenantRoleNames",
    "testUsersOnly",
    "text",
    "toCreatedTime",
    "toModifiedTime",
    "totp",
    "verifiedEmail",
    "verifiedPhone",
    "webauthn",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Search {
    login_id: Option<String>,
    login_ids: Option<Vec<String>>,
    user_ids: Option<Vec<String>>,
    emails: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
    with_test_user: Option<bool>,
    limit: Option<u32>,
    page: Option<u32>,
}

pub(super) async fn users(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    perform(api, Call::Lookup, move |api| {
        let wanted = read(&body)?;
        find(&api.rules.lock(), &api.directory.lock(), wanted)
    })
    .await
}

fn read(body: &[u8]) -> Result<Search, Refusal> {
    let mut fields: Map<String, Value> = decode(body)?;
    for name in WITHOUT_EFFECT {
        if fields.remove(*name).is_some_and(|value| filters(&value)) {
            return Err(Refusal::invalid_arguments(format!("the stand-in has no {name}")));
        }
    }
    // Written and read again, so that a complaint names the field.
    decode(Value::Object(fields).to_string().as_bytes())
}

fn filters(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn find(rules: &Rules, directory: &Directory, wanted: Search) -> Result<Json<UsersAnswer>, Refusal> {
    let mut login_ids = wanted.login_ids.unwrap_or_default();
    login_ids.extend(wanted.login_id.filter(|login_id| !login_id.is_empty()));
    let user_ids = wanted.user_ids.unwrap_or_default();
    let emails = wanted.emails.unwrap_or_default();
    let statuses = wanted.statuses.unwrap_or_default();
    for list in [&login_ids, &user_ids, &emails] {
        if list.len() > rules.max_listed {
            return Err(Refusal::invalid_arguments("too many IDs"));
        }
    }
    let limit = match wanted.limit.unwrap_or(0) as usize {
        0 => DEFAULT_LIMIT,
        limit if limit <= rules.max_search_limit => limit,
        _ => return Err(Refusal::invalid_arguments("limit is too large")),
    };
    let all: Vec<User> = if !login_ids.is_empty() {
        let found = login_ids
            .iter()
            .flat_map(|login_id| directory.users_with_login_id(login_id, rules.login_ids_in_any_case));
        found.collect()
    } else if !user_ids.is_empty() {
        user_ids.iter().filter_map(|id| directory.user(id)).collect()
    } else {
        directory.users()
    };
    let with_test_user = wanted.with_test_user.unwrap_or(false);
    // By their IDs, each once: several of the listed login IDs may be one user's.
    let found: BTreeMap<String, User> = all
        .into_iter()
        .filter(|user| user_ids.is_empty() || user_ids.contains(&user.user_id))
        .filter(|user| emails.is_empty() || user.email.as_ref().is_some_and(|email| emails.contains(email)))
        .filter(|user| statuses.is_empty() || statuses.iter().any(|status| status == user.status.as_str()))
        .filter(|user| with_test_user || !user.test)
        .map(|user| (user.user_id.clone(), user))
        .collect();
    let total = found.len();
    let from = limit.saturating_mul(wanted.page.unwrap_or(0) as usize);
    let users = found
        .into_values()
        .skip(from)
        .take(limit)
        .map(Into::into)
        .collect();
    Ok(Json(UsersAnswer { users, total }))
}
