//! The paths that exist, and what every request passes before it is carried out.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::HeaderMap,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete as deleting, get, post},
};

use crate::simulator::{
    api::Api,
    buckets::Bucket,
    delete,
    disconnect::{Connection, Disconnect},
    license,
    log::Entry,
    lookup, provider, read,
    refusal::Refusal,
    search, upload,
};

/// Far above any batch; keeps a runaway client from filling the memory.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The paths. One that is not here gets a 404 without an error body, which tells an unknown path from an
/// unknown token.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route(
            "/v1/mgmt/outbound/app/user/oauthtoken/batch/upload",
            post(upload::user_batch),
        )
        .route(
            "/v1/mgmt/outbound/app/tenant/oauthtoken/batch/upload",
            post(upload::tenant_batch),
        )
        .route("/v1/mgmt/outbound/app/user/oauthtoken/upload", post(upload::user))
        .route(
            "/v1/mgmt/outbound/app/tenant/oauthtoken/upload",
            post(upload::tenant),
        )
        .route(
            "/v1/mgmt/outbound/app/user/apikey/upload",
            post(upload::user_api_key),
        )
        .route(
            "/v1/mgmt/outbound/app/tenant/apikey/upload",
            post(upload::tenant_api_key),
        )
        .route("/v1/mgmt/outbound/app/user/token/latest", post(read::user_latest))
        .route("/v1/mgmt/outbound/app/user/token", post(read::user_with_scopes))
        .route(
            "/v1/mgmt/outbound/app/tenant/token/latest",
            post(read::tenant_latest),
        )
        .route(
            "/v1/mgmt/outbound/app/tenant/token",
            post(read::tenant_with_scopes),
        )
        .route(
            "/v1/mgmt/outbound/apps-with-user-token",
            get(read::apps_with_user_token),
        )
        .route("/v1/mgmt/outbound/token", deleting(delete::token))
        .route("/v1/mgmt/outbound/user/tokens", deleting(delete::tokens))
        .route("/v1/mgmt/outbound/app/{id}", get(lookup::app))
        .route("/v1/mgmt/outbound/apps", get(lookup::apps))
        .route("/v1/mgmt/tenant", get(lookup::tenant))
        .route("/v1/mgmt/tenant/all", get(lookup::tenants))
        .route("/v1/mgmt/user", get(lookup::user))
        .route("/v1/mgmt/user/provider/token", get(provider::token))
        .route("/v1/mgmt/users/load", post(lookup::users))
        .route("/v2/mgmt/user/search", post(search::users))
        .route(license::PATH, get(lookup::license))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard))
        // The guard has its own, larger limit.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// Logs the request, admits or refuses it, and cuts the connection where the answer says so.
async fn guard(
    State(api): State<Arc<Api>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let tier = license::named(request.headers());
    let entry = api.log.lock().arrived(request.uri().path(), tier);
    let path = request.uri().path().to_owned();
    let response = pass(&api, entry, request, next).await;
    if response.extensions().get::<Disconnect>().is_some() {
        tracing::debug!(path, "cut the connection");
        connection.cut();
    } else {
        let status = response.status();
        tracing::debug!(path, status = status.as_u16(), "answered");
        api.log.lock().answered(entry, status);
    }
    response
}

/// The whole body is read before anything is refused: closing a connection on a client that is still
/// sending would show it a broken connection in place of the refusal.
async fn pass(api: &Api, entry: Entry, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return Refusal::payload_too_large().into_response();
    };
    api.log.lock().read(entry, body.len());
    if let Err(refusal) = admit(api, parts.uri.path(), &parts.headers) {
        return refusal.into_response();
    }
    parts.extensions.insert(entry);
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn admit(api: &Api, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    api.credentials.check(headers)?;
    // Here the licence call costs quota; the real behaviour is not published.
    let license = api.license.lock();
    let tier = license.bucket_of(path, headers)?;
    api.limiter.lock().admit(Bucket::of(path), tier)
}
