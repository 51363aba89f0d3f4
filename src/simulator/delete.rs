//! Deleting tokens: one by its ID, or all of an app or a user.

use std::sync::Arc;

use axum::{Json, extract::State, http::Uri, response::Response};
use serde::Deserialize;
use serde_json::json;

use crate::simulator::{
    api::Api,
    decode::{filled, query, required},
    faults::Call,
    inject_fault::perform,
    refusal::Refusal,
};

type Shared = State<Arc<Api>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ById {
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ByOwner {
    app_id: Option<String>,
    user_id: Option<String>,
}

/// One token.
pub(super) async fn token(State(api): Shared, uri: Uri) -> Response {
    perform(api, Call::Delete, move |api| {
        let wanted: ById = query(&uri)?;
        let id = required("id", wanted.id)?;
        let status = api.rules.lock().token_not_found_status;
        if api.store.lock().delete(&id) {
            Ok(Json(json!({})))
        } else {
            Err(Refusal::token_not_found(status))
        }
    })
    .await
}

/// All tokens of an app, of a user, or of a user for an app.
pub(super) async fn tokens(State(api): Shared, uri: Uri) -> Response {
    perform(api, Call::Delete, move |api| {
        let wanted: ByOwner = query(&uri)?;
        let (app, user) = (filled(wanted.app_id), filled(wanted.user_id));
        if app.is_none() && user.is_none() {
            return Err(Refusal::invalid_arguments("appId or userId is required"));
        }
        api.store.lock().delete_all(app.as_deref(), user.as_deref());
        Ok(Json(json!({})))
    })
    .await
}
