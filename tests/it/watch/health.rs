//! Where it listens, and when it is ready.

use std::time::Duration;

use reqwest::Method;
use tokenferry::simulator::{Barrier, Fault};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::watched::Watched;
use crate::support::bed::Bed;

#[tokio::test]
async fn an_address_that_is_taken_is_said_before_anything_is_begun() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["migrate", "verify"] {
        let ran = bed
            .run(&[command, "--metrics-listen", &address])
            .await
            .ended_with(2);
        assert!(
            ran.stderr.contains(&format!("cannot listen on {address}"))
                && ran.stderr.contains("in use by another process"),
            "{}",
            ran.stderr
        );
    }
    let bed = bed.set(&format!("metrics.listen = \"{address}\""));
    // Configured, it may be another run's: one that is told so, or one that does without.
    let ran = bed.run(&["migrate"]).await.ended_with(0);
    assert!(
        ran.stderr.contains("continuing without /metrics"),
        "{}",
        ran.stderr
    );
    // The flag wins.
    bed.run(&["migrate", "--metrics-listen", "127.0.0.1:0"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn it_is_ready_from_the_lock_to_the_stop() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(301, 900).await;
    // Nobody can begin a run while this holds the table.
    let mut blocked = bed.pool.begin().await.unwrap();
    sqlx::query("lock table tokenferry.runs in access exclusive mode")
        .execute(&mut *blocked)
        .await
        .unwrap();
    let gate = Barrier::new();
    let bed = bed.set("batch.concurrency = 1");
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    let (status, text) = run.get("/readyz").await;
    assert_eq!((status.as_u16(), text.as_str()), (503, "starting\n"));
    assert_eq!(run.get("/healthz").await.0, 200);
    blocked.rollback().await.unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let (status, text) = run.get("/readyz").await;
    assert_eq!((status.as_u16(), text.as_str()), (200, "ready\n"));
    assert_eq!(run.order("stop", "").await.0, 204);
    let (status, text) = run.get("/readyz").await;
    assert_eq!((status.as_u16(), text.as_str()), (503, "stopping\n"));
    assert_eq!(run.get("/healthz").await.0, 200);
    gate.release();
    run.ended().await.ended_with(130);
}

#[tokio::test]
async fn figures_are_not_told_to_a_page_that_had_its_name_point_here() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start_without_page(&bed, &["migrate", "--json"]).await;
    for path in ["/metrics", "/readyz", "/healthz"] {
        let status = async |host: &str| {
            let asked = run.ask(Method::GET, path).header("host", host);
            asked.send().await.unwrap().status().as_u16()
        };
        assert_eq!(status("evil.example").await, 403, "{path}");
        assert_ne!(status("localhost:9184").await, 403, "{path}");
    }
    gate.release();
    run.ended().await.ended_with(0);
}

#[tokio::test]
async fn half_open_requests_take_no_descriptors_from_the_run() {
    let bed = Bed::new()
        .await
        .set("api.timeout = \"20s\"\nstop.after_unreachable = \"3s\"");
    bed.user_rows(1, 600).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start_with_descriptors(&bed, &["migrate", "--json"], 96).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let half_open = async |count| {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(&run.address).await.unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: loc")
                .await
                .unwrap();
            streams.push(stream);
        }
        streams
    };
    // An eighth of its descriptors are twelve: whoever comes after so many has to wait.
    let more_than_an_eighth = half_open(13).await;
    let url = format!("http://{}/healthz", run.address);
    let waits = timeout(Duration::from_secs(2), reqwest::get(&url)).await;
    assert!(waits.is_err(), "{waits:?}");
    let others = half_open(139).await;
    // Each session needs another descriptor now.
    bed.end_sessions().await;
    gate.release();
    let ran = run.ended().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 600);
    drop((more_than_an_eighth, others));
}

#[tokio::test]
async fn a_request_whose_head_never_ends_is_ended() {
    let bed = Bed::new().await.set("api.timeout = \"30s\"");
    bed.user_rows(1, 3).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let mut stream = TcpStream::connect(&run.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the head may take 10 s");
    gate.release();
    run.ended().await.ended_with(0);
}
