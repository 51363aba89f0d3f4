//! The live page in a real browser, its buttons pressed. Where there is none, the test says so.

use std::time::Duration;

use tokenferry::simulator::{Barrier, Fault};
use tokio::time::{sleep, timeout};

use super::watched::{LIVE_TOKEN, Watched};
use crate::support::{bed::Bed, browser::Page};

#[tokio::test]
async fn a_person_watches_pauses_slows_down_resumes_and_stops() {
    let Some(mut page) = Page::open().await else {
        eprintln!("skipped: there is no Chromium on this machine");
        return;
    };
    let bed = Bed::new().await;
    bed.rows(1, 3000).await;
    bed.sql("update legacy_tokens set access_token = null, refresh_token = null where id % 100 = 7")
        .await;
    let bed = bed.set(
        "batch.max_tokens = 20\nbatch.concurrency = 2\nsource.page_size = 200\napi.timeout = \"60s\"\n\
         api.rate_limit.requests = 600\napi.rate_limit.per = \"60s\"",
    );
    let gates = [Barrier::new(), Barrier::new()];
    let holds = gates.iter().map(|gate| Fault::Hold(gate.clone()));
    bed.api.script(std::iter::repeat_n(Fault::None, 10).chain(holds));
    let run = Watched::start(&bed, &["migrate", "--json"]).await;

    // Without the token, and with another one, there is nothing to see.
    page.go(&format!("http://{}/", run.address)).await;
    page.until("document.getElementById('door')?.hidden === false")
        .await;
    page.press("#token").await;
    page.types("not-the-token-at-all").await;
    page.press("#door button").await;
    page.until("document.getElementById('refused').textContent.includes('missing or wrong')")
        .await;
    assert_eq!(
        page.value("document.getElementById('snapshot').childElementCount")
            .await,
        0
    );
    assert_eq!(page.complaints.len(), 1, "but for the 401: {:?}", page.complaints);
    page.complaints.clear();

    // The address that was printed opens it, and does not keep the token.
    page.go("about:blank").await;
    page.go(&format!("http://{}/#token={LIVE_TOKEN}", run.address))
        .await;
    page.until("document.getElementById('state').textContent === 'running'")
        .await;
    page.until("!!document.querySelector('#snapshot h1')").await;
    assert_eq!(page.value("location.hash").await, "");
    let kept = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])";
    assert_eq!(page.value(kept).await, "[\"\",{},{}]");
    page.fits_everywhere("live-running").await;

    // Paused while two requests are under way: they finish, and nothing follows.
    for gate in &gates {
        timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    }
    page.press("#pause").await;
    page.until("document.getElementById('state').textContent === 'paused'")
        .await;
    for gate in &gates {
        gate.release();
    }
    run.until("the end of what was in flight", |figures| {
        figures.count("http_requests_in_flight", &[]) == 0
    })
    .await;
    let sent = bed.api.requests().all().len();
    assert_eq!(sent, 12);
    sleep(Duration::from_millis(700)).await;
    assert_eq!(
        bed.api.requests().all().len(),
        sent,
        "nothing leaves during a pause"
    );
    page.fits_everywhere("live-paused").await;
    // The state is said once, and by what knows it first.
    assert_eq!(
        page.value("getComputedStyle(document.querySelector('#snapshot .status')).display")
            .await,
        "none"
    );

    // Slowed down, then resumed.
    page.press("#rate").await;
    page.value("document.getElementById('rate').select()").await;
    page.types("300").await;
    page.press("#slow button").await;
    page.until("document.getElementById('full')?.hidden === false")
        .await;
    assert_eq!(run.figures().await.count("quota_requests_per_second", &[]), 5);
    page.press("#pause").await;
    page.until("document.getElementById('note').textContent.startsWith('slowed down to 300 of 600')")
        .await;
    bed.arrived(300).await;

    // One press asks, a second one stops.
    page.press("#stop").await;
    assert_eq!(page.text("stop").await, "Really stop?");
    assert_eq!(run.get("/readyz").await.0, 200);
    page.press("#stop").await;
    page.until("document.getElementById('state').textContent === 'interrupted'")
        .await;
    page.until("document.getElementById('link').textContent.startsWith('the run has ended')")
        .await;
    page.until("document.getElementById('snapshot').textContent.includes('stopped by hand')")
        .await;
    page.fits_everywhere("live-ended").await;
    assert_eq!(page.complaints, Vec::<String>::new());
    let ran = run.ended().await.ended_with(130).json();
    assert_eq!(ran["stop_reason"], "stopped by hand, on the live page");
    bed.migrate().await.ended_with(3);
    bed.api
        .writes()
        .iter()
        .for_each(|(place, count)| assert_eq!(*count, 1, "{place:?}"));
}
