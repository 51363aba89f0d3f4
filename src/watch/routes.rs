//! What is served where.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use super::{
    figures::Figures,
    live::{self, Live},
};
use crate::{pace::Stop, report::View};

/// What everyone who asks is answered from.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    figures: Figures,
    stop: Stop,
    view: watch::Receiver<View>,
    live: Option<Live>,
}

impl Seat {
    pub(super) fn new(figures: Figures, stop: Stop, view: watch::Receiver<View>, live: Option<Live>) -> Self {
        Self {
            figures,
            stop,
            view,
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
            .with_state(self)
            .merge(page)
    }
}

async fn metrics(State(seat): State<Seat>) -> Response {
    let view = seat.view.borrow().clone();
    match seat.figures.text(&view) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready is a run that has begun, its lock held, and is not about to end.
async fn ready(State(seat): State<Seat>) -> Response {
    let (has_begun, has_ended) = {
        let view = seat.view.borrow();
        (view.run_id.is_some(), view.ended.is_some())
    };
    let text = match (has_begun, has_ended || seat.stop.is_turned()) {
        (true, false) => return "ready\n".into_response(),
        (false, false) => "starting\n",
        (_, true) => "stopping\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn no_page() -> &'static str {
    "tokenferry: see /metrics, /healthz and /readyz. A page to watch and steer the run is there with --live.\n"
}
