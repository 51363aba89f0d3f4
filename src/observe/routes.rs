//! Routes of the monitoring server.

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use super::{
    auth::Hosts,
    figures::Figures,
    live::{self, Live},
};
use crate::{rate::StopSignal, report::View};

/// The state shared by all routes.
#[derive(Debug, Clone)]
pub(super) struct AppState {
    figures: Figures,
    stop: StopSignal,
    view: watch::Receiver<View>,
    hosts: Hosts,
    live: Option<Live>,
}

impl AppState {
    pub(super) fn new(
        figures: Figures,
        stop: StopSignal,
        view: watch::Receiver<View>,
        hosts: Hosts,
        live: Option<Live>,
    ) -> Self {
        Self {
            figures,
            stop,
            view,
            hosts,
            live,
        }
    }

    pub(super) fn router(mut self) -> Router {
        let page = match self.live.take() {
            Some(live) => live::router(live),
            None => Router::new().route("/", get(no_page)),
        };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .layer(middleware::from_fn_with_state(self.hosts.clone(), under_our_name))
            .with_state(self)
            .merge(page)
    }
}

async fn under_our_name(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn metrics(State(state): State<AppState>) -> Response {
    let view = state.view.borrow().clone();
    match state.figures.text(&view) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready means that the run has started, holds its lock, and is not about to end.
async fn ready(State(state): State<AppState>) -> Response {
    let (has_begun, has_ended) = {
        let view = state.view.borrow();
        (view.run_id.is_some(), view.ended.is_some())
    };
    let text = match (has_begun, has_ended || state.stop.is_triggered()) {
        (true, false) => return "ready\n".into_response(),
        (false, false) => "starting\n",
        (_, true) => "stopping\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn no_page() -> &'static str {
    "tokenferry: see /metrics, /healthz and /readyz. With --live, a page shows and controls the run.\n"
}
