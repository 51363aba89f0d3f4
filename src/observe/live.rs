//! The live page: state and snapshots by server-sent events, and the actions of its buttons.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    auth::{Auth, Refused},
    snapshot::{self, PageSnapshot},
    template,
};
use crate::{
    config::LedgerAccess,
    domain::{Mode, RunId, RunStatus, StopReason, Tally},
    rate::RunControl,
    report::{StatusBadge, View, after_an_early_end, badge},
};

/// The interval between state events.
const TICK: Duration = Duration::from_millis(500);

/// The most pages open at once.
const MOST_PAGES: usize = 16;

/// The maximum size of a request body.
const LONGEST_ORDER: usize = 1024;

/// The state behind the page.
#[derive(Debug, Clone)]
pub(super) struct Live {
    guard: Auth,
    control: RunControl,
    migration: Arc<str>,
    view: watch::Receiver<View>,
    page_snapshot: watch::Sender<PageSnapshot>,
    pages: Arc<Semaphore>,
    begin: Instant,
    closing: CancellationToken,
}

/// The state of a run as sent to the page.
#[derive(Debug, Serialize)]
struct Now {
    migration: Arc<str>,
    mode: Mode,
    run_id: Option<RunId>,
    /// `starting`, `running`, `paused`, `held`, `stopping`, or the run's last status.
    state: &'static str,
    /// The same as text.
    badge: StatusBadge,
    /// The next step, once the run has ended early.
    next: Option<&'static str>,
    stop_reason: Option<String>,
    /// Can also be true before the run has started.
    paused: bool,
    tokens: Tally,
    expected: Option<u64>,
    requests: i64,
    in_flight: i64,
    held_s: f64,
    latency_ms: Option<u64>,
    elapsed_s: u64,
    rate: Rate,
}

/// The request rate.
#[derive(Debug, Serialize)]
struct Rate {
    requests: u32,
    configured: u32,
    per_s: f64,
}

/// The requested rate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRate {
    requests: u32,
}

impl Live {
    /// Starts rendering snapshots until `closing`.
    pub(super) fn begin(
        guard: Auth,
        ledger: LedgerAccess,
        control: RunControl,
        view: watch::Receiver<View>,
        closing: CancellationToken,
    ) -> Self {
        let (page_snapshot, migration) = (watch::Sender::new(None), ledger.migration.as_str().into());
        tokio::spawn(snapshot::paint(
            ledger,
            view.clone(),
            page_snapshot.clone(),
            closing.clone(),
        ));
        Self {
            guard,
            control,
            migration,
            view,
            page_snapshot,
            pages: Arc::new(Semaphore::new(MOST_PAGES)),
            begin: Instant::now(),
            closing,
        }
    }

    fn now(&self) -> Now {
        let view = self.view.borrow().clone();
        let throttle = &self.control.throttle;
        let state = match view.ended {
            Some(status) => status.as_str(),
            None if self.control.stop.is_triggered() => "stopping",
            None if view.run_id.is_none() => "starting",
            None if throttle.pace().paused => "paused",
            None if !view.held_for.is_zero() => "held",
            None => RunStatus::Running.as_str(),
        };
        let ended_early = matches!(view.ended, Some(RunStatus::Interrupted | RunStatus::Stopped));
        let (latency, answers) = self.control.meter.latency();
        Now {
            migration: Arc::clone(&self.migration),
            mode: view.mode,
            run_id: view.run_id,
            state,
            badge: badge(state, view.mode),
            // Only the ledger knows whether the run can be resumed; the snapshot shows that.
            next: ended_early.then(|| after_an_early_end(view.mode, None)),
            stop_reason: self.control.stop.reason().map(|reason| reason.to_string()),
            paused: throttle.pace().paused,
            tokens: view.tally,
            expected: view.expected,
            requests: view.requests,
            in_flight: view.in_flight,
            held_s: view.held_for.as_secs_f64(),
            latency_ms: (answers > 0).then(|| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            elapsed_s: self.begin.elapsed().as_secs(),
            rate: Rate {
                requests: throttle.pace().requests,
                configured: throttle.configured().requests,
                per_s: throttle.configured().per.as_secs_f64(),
            },
        }
    }
}

/// Routes of the page and of the data and actions behind it.
pub(super) fn router(live: Live) -> Router {
    let behind = Router::new()
        .route("/live/events", get(events))
        .route("/live/pause", post(pause))
        .route("/live/resume", post(resume))
        .route("/live/rate", post(rate))
        .route("/live/stop", post(stop))
        .layer(middleware::from_fn_with_state(live.clone(), for_the_person))
        .layer(DefaultBodyLimit::max(LONGEST_ORDER));
    Router::new()
        .route("/", get(page))
        .merge(behind)
        .layer(middleware::map_response(sealed))
        .with_state(live)
}

/// Serves the page itself, which contains nothing of the run.
async fn page(State(live): State<Live>, headers: HeaderMap) -> Response {
    match live.guard.page(&headers) {
        Ok(()) => Html(template::document()).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn for_the_person(State(live): State<Live>, request: Request, next: Next) -> Response {
    match live.guard.person(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.text()).into_response();
        if self == Self::Token {
            let headers = response.headers_mut();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Adds headers that restrict every response. The page restricts its own content.
async fn sealed(mut response: Response) -> Response {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn pause(State(live): State<Live>) -> StatusCode {
    live.control.throttle.pause();
    info!("paused on the live page, no new requests are sent");
    StatusCode::NO_CONTENT
}

async fn resume(State(live): State<Live>) -> StatusCode {
    live.control.throttle.resume();
    info!("resumed on the live page");
    StatusCode::NO_CONTENT
}

async fn rate(State(live): State<Live>, Json(new): Json<NewRate>) -> Response {
    match live.control.throttle.slow_to(new.requests) {
        Ok(()) => {
            let per = live.control.throttle.configured().per;
            info!(requests = new.requests, per = %humantime::format_duration(per), "rate set on the live page");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response(),
    }
}

async fn stop(State(live): State<Live>) -> StatusCode {
    info!("stopped on the live page, finishing what is in flight");
    live.control.stop.trigger(StopReason::Person);
    StatusCode::NO_CONTENT
}

/// Sends `now` twice a second, `snapshot` for each new snapshot, and `end` after the end of the run.
async fn events(State(live): State<Live>) -> Response {
    let Ok(permit) = Arc::clone(&live.pages).try_acquire_owned() else {
        let text = "too many pages are already open for this run\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let (tell, told) = mpsc::channel(4);
    tokio::spawn(tell_all(live, tell, permit));
    let stream = stream::unfold(told, |mut told| async {
        let event: Event = told.recv().await?;
        Some((Ok::<_, Infallible>(event), told))
    });
    Sse::new(stream).keep_alive(KeepAlive::new()).into_response()
}

/// Sends events to one page until it is closed or the run has ended.
async fn tell_all(live: Live, tell: mpsc::Sender<Event>, _permit: OwnedSemaphorePermit) {
    let mut page_snapshot = live.page_snapshot.subscribe();
    page_snapshot.mark_changed();
    loop {
        let is_last = live.closing.is_cancelled();
        let is_new = page_snapshot.has_changed().unwrap_or_default();
        if is_last {
            page_snapshot.mark_unchanged();
            // The final snapshot may still arrive.
            let _ = timeout(snapshot::LAST_RENDER, page_snapshot.changed()).await;
        }
        let mut events = vec![Event::default().event("now").json_data(live.now())];
        if (is_new || is_last)
            && let Some(painted) = page_snapshot.borrow_and_update().clone()
        {
            events.push(Event::default().event("snapshot").json_data(painted));
        }
        if is_last {
            events.push(Ok(Event::default().event("end").data("")));
        }
        for event in events.into_iter().flatten() {
            if tell.send(event).await.is_err() {
                return;
            }
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = sleep(TICK) => {}
            () = live.closing.cancelled() => {}
            () = tell.closed() => return,
        }
    }
}
