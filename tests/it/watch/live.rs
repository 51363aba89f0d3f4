//! The live page, without a browser: who may see it, what it is told, what its orders do.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::{sleep, timeout};

use super::watched::{LIVE_TOKEN, Watched};
use crate::support::bed::{Bed, TOKEN};

/// Reads server-sent events one by one.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn of(run: &Watched) -> Self {
        let request = run.ask(Method::GET, "/live/events").bearer_auth(LIVE_TOKEN);
        let response = request.timeout(Duration::from_secs(120)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event and its data; `None` if there is none any more.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                if let Some(event) = field("event") {
                    let data = field("data").unwrap_or_default();
                    return Some((event.to_owned(), serde_json::from_str(data).unwrap_or_default()));
                }
                continue;
            }
            let chunk = timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk.expect("an event should have come by now").unwrap()?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The data of the next event of this kind that is as expected.
    async fn until(&mut self, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = timeout(Duration::from_secs(60), async {
            loop {
                let (event, data) = self.next().await.expect("more events");
                if event == kind && is(&data) {
                    return data;
                }
                last = data;
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("no such {kind} came; the last one was {last}"))
    }
}

#[tokio::test]
async fn nobody_sees_or_steers_without_the_token_or_from_elsewhere() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();

    let own = format!("http://{}", run.address);
    let paths = [
        (Method::GET, "/live/events"),
        (Method::POST, "/live/pause"),
        (Method::POST, "/live/resume"),
        (Method::POST, "/live/rate"),
        (Method::POST, "/live/stop"),
    ];
    for (method, path) in paths {
        let ask = || run.ask(method.clone(), path);
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
        assert_eq!(status(ask()).await, 401, "{path} without a token");
        assert_eq!(
            status(ask().bearer_auth("wrong")).await,
            401,
            "{path} with another"
        );
        assert_eq!(
            status(run.ask(method.clone(), &format!("{path}?token={LIVE_TOKEN}"))).await,
            401,
            "{path} in the address"
        );
        assert_eq!(
            status(ask().header("cookie", format!("token={LIVE_TOKEN}"))).await,
            401,
            "{path} in a cookie"
        );
        let right = || ask().bearer_auth(LIVE_TOKEN);
        assert_eq!(
            status(right().header("origin", "http://evil.example")).await,
            403,
            "{path}"
        );
        assert_eq!(
            status(right().header("host", "evil.example")).await,
            403,
            "{path}"
        );
        assert_eq!(
            status(right().header("sec-fetch-site", "cross-site")).await,
            403,
            "{path}"
        );
    }
    // None of it did anything.
    let figures = run.figures().await;
    assert_eq!(figures.count("paused", &[]), 0);
    assert_eq!(run.get("/readyz").await.0, 200);

    // The page itself holds nothing, and not under another's name.
    let (status, page) = run.get("/").await;
    assert_eq!(status, 200);
    for hidden in [LIVE_TOKEN, TOKEN, "user-", "\"test\""] {
        assert!(!page.contains(hidden), "{hidden}");
    }
    let response = run
        .ask(Method::GET, "/")
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    let response = run.ask(Method::GET, "/").send().await.unwrap();
    let policy = &response.headers()["content-security-policy"];
    assert_eq!(policy, "frame-ancestors 'none'");
    assert!(page.contains("default-src 'none'; style-src 'sha256-"), "{page}");

    let request = run.ask(Method::POST, "/live/pause").header("origin", own);
    assert_eq!(
        request.bearer_auth(LIVE_TOKEN).send().await.unwrap().status(),
        204
    );
    assert_eq!(run.figures().await.count("paused", &[]), 1);
    assert_eq!(run.order("resume", "").await.0, 204);
    gate.release();
    run.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_pause_lets_what_is_in_flight_finish_and_a_resumed_run_completes() {
    let bed = Bed::new().await;
    bed.user_rows(1, 500).await;
    let bed = bed.set("batch.concurrency = 2");
    let (first, second) = (Barrier::new(), Barrier::new());
    bed.api
        .script([Fault::Hold(first.clone()), Fault::Hold(second.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    for gate in [&first, &second] {
        timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    }
    let mut events = Events::of(&run).await;
    events.until("now", |now| now["state"] == "running").await;
    assert_eq!(run.order("pause", "").await.0, 204);
    let now = events.until("now", |now| now["state"] == "paused").await;
    assert_eq!(now["in_flight"], 2);
    first.release();
    second.release();
    // Both arrive, are recorded, and two others wait at the gate.
    let now = events
        .until("now", |now| {
            now["tokens"]["committed"] == 200 && now["in_flight"] == 2
        })
        .await;
    assert_eq!(now["state"], "paused");
    sleep(Duration::from_millis(700)).await;
    assert_eq!(bed.api.requests().all().len(), 2, "nothing leaves during a pause");
    assert_eq!(
        bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
            .await,
        0,
        "no intent is recorded of what does not leave"
    );
    assert_eq!(run.order("resume", "").await.0, 204);
    let last = events.until("now", |now| now["state"] == "completed").await;
    assert_eq!(last["tokens"]["committed"], 500);
    events.until("end", |_| true).await;
    assert!(events.next().await.is_none(), "nothing after the end");
    let ran = run.ended().await.ended_with(0).json();
    assert_eq!((&ran["requests"], &ran["retries"]), (&json!(5), &json!(0)));
    assert_eq!(
        bed.texts("select kind from tokenferry.run_events where kind = 'paused' and seconds > 0.5")
            .await,
        ["paused"],
        "one pause is one event"
    );
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_pause_takes_no_attempt_away_and_settles_what_was_in_doubt() {
    let bed = Bed::new().await;
    bed.user_rows(1, 200).await;
    let bed = bed.set("batch.concurrency = 1\napi.timeout = \"1s\"\napi.retry.max_attempts = 2");
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    assert_eq!(run.order("pause", "").await.0, 204);
    // The request times out. What became of it is asked in the middle of the pause: by its end the answer
    // could be another.
    timeout(Duration::from_secs(30), async {
        while bed.api.requests().fetches() == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        bed.api.requests().to("/batch/upload"),
        1,
        "nothing is sent during a pause"
    );
    gate.release();
    assert_eq!(run.order("resume", "").await.0, 204);
    run.ended().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn the_rate_can_be_lowered_and_raised_again_up_to_what_is_configured() {
    let bed = Bed::new().await;
    bed.user_rows(1, 400).await;
    let bed = bed.set("api.rate_limit.requests = 100\napi.rate_limit.per = \"1s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    for wrong in ["{\"requests\": 0}", "{\"requests\": 101}"] {
        let (status, text) = run.order("rate", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(text.contains("at least 1 and at most 100"), "{text}");
    }
    for wrong in [
        "{\"requests\": -1}",
        "{\"requests\": \"5\"}",
        "{\"other\": 1}",
        "",
        "5",
    ] {
        assert!(run.order("rate", wrong).await.0.is_client_error(), "{wrong}");
    }
    let rate = async || run.figures().await.count("quota_requests_per_second", &[]);
    assert_eq!(rate().await, 100);
    assert_eq!(run.order("rate", "{\"requests\": 5}").await.0, 204);
    assert_eq!(rate().await, 5);
    let mut events = Events::of(&run).await;
    let now = events.until("now", |now| now["rate"]["requests"] == 5).await;
    assert_eq!(now["rate"]["configured"], 100);
    assert_eq!(run.order("rate", "{\"requests\": 100}").await.0, 204);
    assert_eq!(rate().await, 100);
    gate.release();
    run.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_stop_is_a_stop_that_the_next_run_goes_on_from() {
    let bed = Bed::new().await;
    bed.user_rows(1, 400).await;
    let bed = bed.set("batch.concurrency = 1");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let mut events = Events::of(&run).await;
    // Paused first: a stop does not wait for somebody to resume.
    assert_eq!(run.order("pause", "").await.0, 204);
    assert_eq!(run.order("stop", "").await.0, 204);
    let now = events.until("now", |now| now["state"] == "stopping").await;
    assert_eq!(now["stop_reason"], "stopped by hand, on the live page");
    gate.release();
    let snapshot = async {
        events.until("now", |now| now["state"] == "interrupted").await;
        events.until("snapshot", |_| true).await
    };
    let snapshot = snapshot.await;
    assert!(
        snapshot
            .as_str()
            .unwrap()
            .contains("stopped by hand, on the live page"),
        "{snapshot}"
    );
    events.until("end", |_| true).await;
    let ran = run.ended().await.ended_with(130).json();
    assert_eq!(ran["status"], "interrupted");
    assert_eq!(ran["tokens"]["committed"], 200);
    assert_eq!(ran["stop_reason"], "stopped by hand, on the live page");
    let next = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&next["resumed"], &next["run_id"], &next["tokens"]["committed"]),
        (&json!(true), &ran["run_id"], &json!(400))
    );
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn what_is_told_and_painted_holds_no_token() {
    let bed = Bed::new().await;
    bed.rows(1, 200).await;
    bed.sql("update legacy_tokens set user_id = '<img src=x onerror=alert(1)>' || id where id < 5")
        .await;
    bed.sql("update legacy_tokens set access_token = null, refresh_token = null where id = 7")
        .await;
    let bed = bed.set("batch.concurrency = 1\nbatch.max_tokens = 20");
    let gate = Barrier::new();
    bed.api
        .script([Fault::None, Fault::None, Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let mut events = Events::of(&run).await;
    let mut all = events.until("now", |_| true).await.to_string();
    let snapshot = events.until("snapshot", |_| true).await;
    let snapshot = snapshot.as_str().unwrap();
    assert!(snapshot.contains("<h1"), "{snapshot}");
    assert!(!snapshot.contains("<img"), "{snapshot}");
    all += snapshot;
    gate.release();
    while let Some((_, data)) = events.next().await {
        all += &data.to_string();
    }
    assert!(
        all.contains("no_token"),
        "the row without a token is on the page: {all}"
    );
    assert!(!all.contains(TOKEN) && !all.contains(LIVE_TOKEN), "{all}");
    run.ended().await.ended_with(3);
}

#[tokio::test]
async fn a_verification_can_be_held_back_too() {
    let bed = Bed::new().await;
    bed.user_rows(1, 40).await;
    bed.migrate().await.ended_with(0);
    let bed = bed.set("batch.concurrency = 1");
    let gate = Barrier::new();
    bed.api.script_reads([Fault::None, Fault::Hold(gate.clone())]);
    let run = Watched::start(&bed, &["verify", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let mut events = Events::of(&run).await;
    assert_eq!(run.order("pause", "").await.0, 204);
    gate.release();
    let now = events
        .until("now", |now| {
            now["state"] == "paused" && now["tokens"]["committed"] == 2
        })
        .await;
    assert_eq!((&now["mode"], &now["requests"]), (&json!("verify"), &json!(2)));
    assert_eq!(run.order("stop", "").await.0, 204);
    let ran = run.ended().await.ended_with(130).json();
    assert_eq!(ran["status"], "interrupted");
    bed.run(&["verify"]).await.ended_with(0);
}

#[tokio::test]
async fn where_no_terminal_is_a_token_must_be_configured() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5).await;
    for format in ["json", "text", "auto"] {
        let ran = bed
            .run(&["migrate", "--live", "--log-format", format])
            .await
            .ended_with(2);
        assert!(ran.stderr.contains("TOKENFERRY__LIVE__TOKEN"), "{}", ran.stderr);
    }
    let bed = bed.set("live.token = \"short\"\nlive.enabled = true");
    let ran = bed.run(&["migrate"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("`live.token` must be at least 16"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("short\""), "{}", ran.stderr);
}

#[tokio::test]
async fn without_being_asked_for_there_is_no_page() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let run = Watched::start_without_page(&bed, &["migrate", "--json"]).await;
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let (status, text) = run.get("/").await;
    assert_eq!(status, 200);
    assert!(text.starts_with("tokenferry: see /metrics"), "{text}");
    assert_eq!(run.order("stop", "").await.0, 404);
    assert_eq!(run.get("/live/events").await.0, 404);
    gate.release();
    run.ended().await.ended_with(0);
}
