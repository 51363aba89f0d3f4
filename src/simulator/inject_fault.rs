//! Carries one admitted request out, with whatever goes wrong with it.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use tokio::{task::yield_now, time::sleep};

use crate::simulator::{
    api::Api,
    disconnect::cut,
    faults::{Call, Fault},
    refusal::Refusal,
};

/// Longer than the part of the body that is sent.
const TRUNCATED_LENGTH: u64 = 1024;

/// Answers with the result of `commit`, unless the next fault says otherwise.
///
/// It runs in a task of its own, so that a client that leaves does not stop it half-way.
pub(super) async fn perform<T, F>(api: Arc<Api>, call: Call, commit: F) -> Response
where
    T: IntoResponse,
    F: FnOnce(&Api) -> Result<T, Refusal> + Send + 'static,
{
    let commit = |api: &Api| commit(api).into_response();
    let (latency, fault) = api.faults.lock().next(call);
    let tasks = api.tasks.clone();
    let task = tasks.spawn(async move {
        let stop = api.stop.clone();
        let answered = stop.run_until_cancelled(async {
            pause(latency).await;
            inject(&api, fault, commit).await
        });
        answered.await.unwrap_or_else(cut)
    });
    task.await.unwrap_or_else(|_| cut())
}

async fn inject<F>(api: &Arc<Api>, fault: Fault, commit: F) -> Response
where
    F: FnOnce(&Api) -> Response + Send + 'static,
{
    match fault {
        Fault::None => commit(api),
        Fault::Delay(delay) => {
            sleep(delay).await;
            commit(api)
        }
        Fault::Status(status) => bare(status),
        Fault::StatusAfterCommit(status) => {
            commit(api);
            bare(status)
        }
        Fault::CutBeforeCommit => cut(),
        Fault::CutAfterCommit => {
            commit(api);
            cut()
        }
        Fault::CommitLate(delay) => {
            commit_late(api, delay, commit);
            cut()
        }
        Fault::Unreadable => {
            commit(api);
            unreadable()
        }
        Fault::Truncated => {
            commit(api);
            truncated()
        }
        Fault::Answer {
            status,
            body,
            committed,
        } => {
            if committed {
                commit(api);
            }
            let json = HeaderValue::from_static("application/json");
            (code(status), [(header::CONTENT_TYPE, json)], body).into_response()
        }
        Fault::RateLimited(wait) => api.limiter.lock().refuse(wait).into_response(),
        Fault::RetryAfter(text) => {
            let mut response = api.limiter.lock().refuse(Duration::ZERO).into_response();
            let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
            response.headers_mut().insert(header::RETRY_AFTER, value);
            response
        }
        Fault::Storm(lasts) => {
            let mut limiter = api.limiter.lock();
            limiter.close_for(lasts);
            limiter.refuse(lasts).into_response()
        }
        Fault::Hold(gate) => {
            let response = commit(api);
            gate.pass().await;
            response
        }
        Fault::HoldBeforeCommit(gate) => {
            gate.pass().await;
            commit(api)
        }
    }
}

fn commit_late<F>(api: &Arc<Api>, delay: Duration, commit: F)
where
    F: FnOnce(&Api) -> Response + Send + 'static,
{
    let late = Arc::clone(api);
    api.tasks.spawn(async move {
        let stop = late.stop.clone();
        if stop.run_until_cancelled(sleep(delay)).await.is_some() {
            commit(&late);
        }
    });
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        sleep(latency).await;
    }
}

/// The answer of a proxy in place of the application.
fn bare(status: u16) -> Response {
    let status = code(status);
    (status, status.canonical_reason().unwrap_or("error")).into_response()
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn unreadable() -> Response {
    "<!doctype html><title>One moment</title>".into_response()
}

/// Promises more than it sends; the body then fails, and the server drops the connection.
fn truncated() -> Response {
    let start = stream::iter([Ok(Bytes::from_static(br#"{"failures":["#))]);
    let end = stream::once(async {
        // Lets the server send the start first: it gathers what is there before it writes.
        yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let mut response = Response::new(Body::from_stream(start.chain(end)));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(TRUNCATED_LENGTH));
    response
}
