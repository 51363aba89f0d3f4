//! The page in a real browser, where there is one.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::json;
use tokio::{process::Command, time::timeout};

use crate::support::{
    bed::Bed,
    browser::{Page, chromium},
    server::announce,
};

/// The document as it is after its script ran, and what the browser said.
async fn opened(chromium: &Path, page: &Path, fragment: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let opening = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        // Whatever would leave is said.
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--disable-background-networking",
        ])
        .args([
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}{fragment}", page.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let opened = timeout(Duration::from_secs(120), opening)
        .await
        .expect("the browser should have ended by now")
        .unwrap();
    (
        String::from_utf8(opened.stdout).unwrap(),
        String::from_utf8_lossy(&opened.stderr).into_owned(),
    )
}

/// The keys of the rows that can be seen, from top to bottom.
fn keys(dom: &str) -> Vec<&str> {
    let table = dom.split("<table class=\"cards\" data-sortable").nth(1).unwrap();
    let body = table
        .split("<tbody>")
        .nth(1)
        .unwrap()
        .split("</tbody>")
        .next()
        .unwrap();
    body.split("<tr")
        .skip(1)
        .filter(|row| !row.split('>').next().unwrap().contains("hidden"))
        .map(|row| row.split("<bdi>").nth(1).unwrap().split('<').next().unwrap())
        .collect()
}

#[tokio::test]
async fn a_browser_sorts_and_filters_and_asks_nobody() {
    let Some(chromium) = chromium() else {
        announce("no Chromium on this machine: the page is not opened in one");
        return;
    };
    let bed = Bed::new().await;
    bed.rows(1, 120).await;
    bed.sql(
        "update legacy_tokens set access_token = null, refresh_token = null where id in (9, 11, 102);
         update legacy_tokens set user_id = ' padded' where id = 33",
    )
    .await;
    bed.migrate().await.ended_with(3);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("run.html");
    bed.run(&["report", "--output", page.to_str().unwrap()])
        .await
        .ended_with(0);

    let (dom, said) = opened(&chromium, &page, "").await;
    assert_eq!(
        keys(&dom),
        ["33", "102", "11", "9"],
        "as the ledger has them\n{said}"
    );
    assert!(dom.contains(">4 rows</output>") && dom.contains("<button type=\"button\">Source key</button>"));
    assert!(!said.contains("Content Security Policy"), "{said}");
    assert!(!said.contains("ERR_NAME_NOT_RESOLVED"), "{said}");

    // Numbers in keys are numbers.
    let (dom, _) = opened(&chromium, &page, "#sort=-Source+key").await;
    assert_eq!(keys(&dom), ["102", "33", "11", "9"]);
    assert!(dom.contains("aria-sort=\"descending\""));

    let (dom, _) = opened(&chromium, &page, "#filter=no_token+USER-1&sort=Source+key").await;
    assert_eq!(keys(&dom), ["11", "102"]);
    assert!(dom.contains(">2 of 4 rows</output>") && dom.contains("aria-sort=\"ascending\""));
}

/// What is wrong with the cards: cells whose label is not the name of their column or cannot be seen, and
/// whatever is cut off or sticks out.
const FLAWS: &str = r#"(() => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    const flaws = [];
    for (const table of document.querySelectorAll("table")) {
        const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
        for (const row of table.tBodies[0].rows) {
            [...row.cells].forEach((cell, place) => {
                const box = cell.getBoundingClientRect();
                const label = getComputedStyle(cell, "::before");
                const isSeen = label.content === JSON.stringify(names[place]) && label.display !== "none";
                const isWhole = box.height > 15 && box.left >= 0 && box.right <= innerWidth && cell.scrollWidth <= cell.clientWidth;
                if (!isSeen || !isWhole) flaws.push(`${names[place]}: ${cell.textContent}`);
            });
        }
    }
    for (const one of document.querySelectorAll("pre, dd, p, h1, h2")) {
        if (one.scrollWidth > one.clientWidth + 1) flaws.push(one.textContent);
    }
    return flaws;
})()"#;

#[tokio::test]
async fn rows_are_cards_on_a_phone_and_commands_are_copied() {
    let Some(mut page) = Page::open().await else {
        announce("no Chromium on this machine: the page is not opened in one");
        return;
    };
    let bed = Bed::new().await;
    bed.rows(1, 120).await;
    bed.sql(
        "update legacy_tokens set access_token = null, refresh_token = null where id in (9, 30);
         update legacy_tokens set user_id = ' padded' where id = 33;
         update legacy_tokens set provider = null, user_id = repeat('long', 40) where id = 34;
         update legacy_tokens set user_id = 'user-1' where id = 2",
    )
    .await;
    bed.migrate().await.ended_with(3);
    bed.sql("update legacy_tokens set access_token = 'another' where id = 9")
        .await;
    bed.migrate().await.ended_with(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.html");
    bed.run(&["report", "--output", path.to_str().unwrap()])
        .await
        .ended_with(0);
    page.go(&format!("file://{}", path.display())).await;
    page.until("document.querySelector('[data-copy]')?.hidden === false")
        .await;
    page.fits_everywhere("report").await;
    page.fits("report", 390, "light").await;
    assert_eq!(page.value(FLAWS).await, json!([]));

    // Where the heads of the table are gone, a list sorts it.
    page.value("document.querySelector('[data-sort]').value = 'Source key'")
        .await;
    page.value("document.querySelector('[data-sort]').dispatchEvent(new Event('change'))")
        .await;
    let first = "document.querySelector('[data-sortable] tbody th').textContent";
    assert_eq!(page.value(first).await, "30");

    // With the clipboard, and where the browser offers none.
    for clipboard in ["navigator.clipboard", "undefined"] {
        let offer = format!(
            "Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}, configurable: true}})"
        );
        page.value(&format!(
            "{offer}; document.querySelector('[data-copy]').textContent = 'Copy'; 0"
        ))
        .await;
        page.press("[data-copy]").await;
        page.until("/Copied|Selected/.test(document.querySelector('[data-copy]').textContent)")
            .await;
    }
    assert_eq!(
        page.value("getSelection().toString()").await,
        "tokenferry failures --run 2"
    );
    assert_eq!(page.complaints, Vec::<String>::new());
}
