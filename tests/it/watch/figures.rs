//! The metrics: what they count, what they never hold, and where they go.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::put};
use serde_json::json;
use tokenferry::simulator::{Barrier, Fault, Simulator};
use tokio::{net::TcpListener, sync::Mutex, time::timeout};

use super::watched::{Figures, Watched};
use crate::support::bed::{Bed, TOKEN, ended};

/// What was pushed: path, credentials, body.
type Pushed = Arc<Mutex<Vec<(String, Option<String>, String)>>>;

/// A Pushgateway as far as `PUT` goes.
async fn gateway(status: StatusCode) -> (String, Pushed) {
    let pushed = Pushed::default();
    let take = async move |State(pushed): State<Pushed>, request: axum::extract::Request| {
        let path = request.uri().path().to_owned();
        let credentials = request.headers().get("authorization").cloned();
        let credentials = credentials.map(|value| value.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        pushed.lock().await.push((path, credentials, body));
        status
    };
    let router = Router::new()
        .route("/{*path}", put(take))
        .with_state(Arc::clone(&pushed));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, pushed)
}

#[tokio::test]
async fn what_is_pushed_at_the_end_is_what_the_run_says_of_itself() {
    let simulator = Simulator::builder().refused_users(["user-8", "user-19"]);
    let bed = Bed::with(simulator).await;
    bed.rows(1, 450).await;
    bed.api.script([
        Fault::RateLimited(Duration::from_secs(1)),
        Fault::Status(503),
        Fault::CutAfterCommit,
    ]);
    let (address, pushed) = gateway(StatusCode::OK).await;
    let ran = bed
        .run(&[
            "migrate",
            "--json",
            "--metrics-push",
            &format!("http://{address}"),
        ])
        .await
        .ended_with(3)
        .json();
    let pushed = pushed.lock().await;
    let [(path, None, body)] = pushed.as_slice() else {
        panic!("{pushed:?}")
    };
    assert_eq!(path, "/metrics/job/tokenferry/migration/test");
    let figures = Figures::read(body);
    let tokens = |state| figures.count("tokens_total", &[("state", state)]);
    for state in ["committed", "failed", "superseded", "unchanged"] {
        assert_eq!(json!(tokens(state)), ran["tokens"][state], "{state}");
        assert_eq!(figures.count("run_tokens", &[("state", state)]), tokens(state));
    }
    assert_eq!(
        json!(figures.count("rows_read_total", &[])),
        ran["tokens"]["selected"]
    );
    assert_eq!(figures.count("run_rows_selected", &[]), 450);
    assert_eq!(figures.count("run_rows_settled", &[]), 450);
    for outcome in ["committed", "failed"] {
        let batches = figures.count("batches_total", &[("outcome", outcome)]);
        assert_eq!(json!(batches), ran["batches"][outcome], "{outcome}");
    }
    let requests = figures.count("http_requests_total", &[]);
    // The one for the licence counts as a lookup.
    let counted = ran["requests"].as_u64().unwrap() + ran["lookups"].as_u64().unwrap();
    assert_eq!(json!(requests), counted);
    assert_eq!(
        json!(figures.count("http_requests_total", &[("status", "429")])),
        ran["rate_limited"]
    );
    assert_eq!(figures.count("http_requests_total", &[("status", "503")]), 1);
    assert_eq!(
        figures.count("http_requests_total", &[("status", "connection_lost")]),
        1
    );
    // For the 503, one witness before the grace and two after it, each by its scopes and then the latest; one
    // for the lost answer.
    let read_back = figures.count("http_requests_total", &[("purpose", "read_back")]);
    // That one may have been the batch with the refused users: not stored, it takes six as well.
    assert!([7, 12].contains(&read_back), "{read_back}");
    assert_eq!(json!(figures.count("retries_total", &[])), ran["retries"]);
    assert_eq!(figures.count("http_request_duration_seconds", &[]), requests);
    assert_eq!(figures.count("http_requests_in_flight", &[]), 0);
    assert_eq!(figures.count("batches_in_flight", &[]), 0);
    assert!(figures.sum("pacer_wait_seconds_total", &[("reason", "retry_after")]) > 0.0);
    let status = |status| figures.count("run_status", &[("status", status)]);
    assert_eq!((status("completed_with_failures"), status("running")), (1, 0));
    let ended = chrono::Utc::now().timestamp() as f64 - figures.sum("last_success_timestamp_seconds", &[]);
    assert!((-5.0..600.0).contains(&ended), "{ended}");
    assert!(figures.sum("quota_requests_per_second", &[]) > 0.0);
    for hidden in [TOKEN, "user-", "tenant-", "Bearer", "calendar"] {
        assert!(!body.contains(hidden), "{hidden} in\n{body}");
    }
}

#[tokio::test]
async fn while_it_works_the_figures_say_how_far_it_is() {
    let bed = Bed::new().await;
    bed.user_rows(1, 600).await;
    let bed = bed.set("batch.concurrency = 1\nsource.page_size = 200");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let figures = run
        .until("the first batch's end", |figures| {
            figures.count("run_rows_settled", &[]) == 100
        })
        .await;
    assert_eq!(figures.count("tokens_total", &[("state", "committed")]), 100);
    assert_eq!(
        figures.count("http_requests_in_flight", &[("purpose", "upload")]),
        1
    );
    assert_eq!(figures.count("batches_in_flight", &[]), 1);
    assert_eq!(figures.count("run_status", &[("status", "running")]), 1);
    assert!(
        figures.sum("last_success_timestamp_seconds", &[]).is_nan(),
        "never yet"
    );
    for sample in &figures.samples {
        assert_eq!(sample.labels.get("migration"), Some("test"), "{sample:?}");
        assert_eq!(sample.labels.get("mode"), Some("migrate"), "{sample:?}");
    }
    gate.release();
    run.ended().await.ended_with(0);

    // The next one knows when the last one came to its end.
    bed.user_rows(601, 700).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    assert!(run.figures().await.sum("last_success_timestamp_seconds", &[]) > 1.7e9);
    gate.release();
    run.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_verification_counts_too_and_belongs_to_a_group_of_its_own() {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    bed.migrate().await.ended_with(0);
    let (address, pushed) = gateway(StatusCode::ACCEPTED).await;
    let bed = bed.set(&format!(
        "metrics.push_url = \"http://ferry:hunter2@{address}/behind\""
    ));
    // What stays on this machine goes through no proxy.
    let mut command = bed.command(&["verify", "--json", "-vv"]);
    command.env("HTTP_PROXY", "http://127.0.0.1:1");
    let ran = ended(command.output()).await.ended_with(0);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let pushed = pushed.lock().await;
    let [(path, Some(credentials), body)] = pushed.as_slice() else {
        panic!("{pushed:?}")
    };
    assert_eq!(path, "/behind/metrics/job/tokenferry/migration/test/mode/verify");
    assert!(credentials.starts_with("Basic "), "{credentials}");
    let figures = Figures::read(body);
    assert_eq!(figures.count("tokens_total", &[("state", "committed")]), 30);
    assert_eq!(
        figures.count(
            "http_requests_total",
            &[("purpose", "read_back"), ("mode", "verify")]
        ),
        30
    );
}

#[tokio::test]
async fn a_push_that_fails_is_a_warning_and_says_no_password() {
    let (refusing, pushed) = gateway(StatusCode::BAD_REQUEST).await;
    for address in [refusing.as_str(), "127.0.0.1:1"] {
        let bed = Bed::new().await;
        bed.user_rows(1, 5).await;
        let bed = bed.set(&format!("metrics.push_url = \"http://ferry:hunter2@{address}\""));
        let ran = bed.migrate().await.ended_with(0);
        assert!(ran.stderr.contains("metrics push failed"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert_eq!(pushed.lock().await.len(), 1);
}

#[tokio::test]
async fn a_password_is_refused_as_an_argument() {
    let bed = Bed::new().await;
    let ran = bed
        .run(&["migrate", "--metrics-push", "http://ferry:hunter2@127.0.0.1:1"])
        .await
        .ended_with(2);
    assert!(ran.stderr.contains("metrics.push_url"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}
