//! Traces: what a collector gets, and that a run does not depend on it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::{net::TcpListener, time::Instant};

use crate::support::bed::{Bed, Ran, TOKEN, ended};

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A collector that keeps what it gets, and responds with this status.
async fn collector(status: StatusCode) -> (String, Received) {
    let received = Received::default();
    let keep = async move |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        received.lock().unwrap().push((headers, body));
        status
    };
    let router = Router::new()
        .route("/v1/traces", post(keep))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, received)
}

async fn traced(bed: &Bed, variables: &[(&str, &str)]) -> Ran {
    let mut command = bed.command(&["migrate", "--json"]);
    command.envs(variables.iter().copied());
    ended(command.output()).await
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_collector_gets_the_spans_and_no_secret() {
    let (address, received) = collector(StatusCode::OK).await;
    let bed = Bed::new().await;
    bed.rows(1, 200).await;
    bed.api.set_refused_users(["user-7"]);
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collectors-own");
    let ran = traced(&bed, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), headers]).await;
    ran.ended_with(3);
    let received = received.lock().unwrap();
    assert!(!received.is_empty(), "nothing arrived");
    let bytes: Vec<u8> = received.iter().flat_map(|(_, body)| body.to_vec()).collect();
    for text in [
        "tokenferry",
        "run",
        "run_id",
        "batch",
        "request",
        "purpose",
        "upload",
        "status",
    ] {
        assert!(holds(&bytes, text), "{text}");
    }
    let (sent, _) = &received[0];
    assert_eq!(sent["content-type"], "application/x-protobuf");
    assert_eq!(sent["api-key"], "collectors-own");
    for secret in [TOKEN, bed.api.management_key().reveal(), "collectors-own"] {
        assert!(!holds(&bytes, secret), "{secret} is in the traces");
    }
}

#[tokio::test]
async fn nothing_is_sent_unless_asked_for() {
    let (address, received) = collector(StatusCode::OK).await;
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str());
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let ran = traced(&bed, &[endpoint, off]).await.ended_with(0);
        assert!(!ran.stderr.contains("traces"), "{}", ran.stderr);
    }
    let ran = traced(&bed, &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).await;
    let ran = ran.ended_with(0);
    assert_eq!(
        ran.stderr.matches("traces cannot be sent").count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(received.lock().unwrap().is_empty());
}

/// One that is not there, one that refuses, and one that never responds.
#[tokio::test]
async fn a_collector_that_is_away_costs_one_line_of_the_log() {
    let bed = Bed::new().await;
    let (refusing, _) = collector(StatusCode::UNAUTHORIZED).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://user:hunter2@{}", silent.local_addr().unwrap());
    for (row, address) in ["http://127.0.0.1:9", &refusing, &silent].into_iter().enumerate() {
        let first = i64::try_from(row).unwrap() * 1000 + 1;
        bed.rows(first, first + 999).await;
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let begin = Instant::now();
        let ran = traced(&bed, &variables).await.ended_with(0);
        assert!(begin.elapsed() < Duration::from_secs(40), "{address}");
        assert_eq!(ran.json()["tokens"]["committed"], 1000);
        let said = ran.stderr.matches("traces could not be sent").count();
        assert!(said <= 1 && (said == 1 || address == silent), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}
