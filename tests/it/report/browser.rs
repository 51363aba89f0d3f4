//! The page in a real browser, where there is one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::support::{bed::Bed, server::announce};

/// Chromium from `CHROMIUM`, or from PATH.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

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
    let table = dom.split("<table data-sortable").nth(1).unwrap();
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
