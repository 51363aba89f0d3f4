//! A page in Chromium, driven as its developer tools would.

use std::{
    env,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::support::http;

/// A page in a browser of its own.
pub(crate) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: AtomicU64,
    /// What went wrong on the page.
    pub(crate) complaints: Vec<String>,
    _browser: Child,
    _profile: TempDir,
}

/// Chromium from `CHROMIUM`, or from PATH.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

impl Page {
    /// A browser with an empty page; `None` if there is no browser.
    pub(crate) async fn open() -> Option<Self> {
        let chromium = chromium()?;
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new(chromium)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
        let listening = timeout(Duration::from_secs(60), async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the browser ended");
                if let Some((_, url)) = line.split_once("DevTools listening on ws://") {
                    return url.split('/').next().unwrap().to_owned();
                }
            }
        });
        let address = listening.await.expect("the browser should have started by now");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let list = http::client().get(format!("http://{address}/json/list"));
        let list: Value = list.send().await.unwrap().json().await.unwrap();
        let pages = list.as_array().unwrap();
        let page = pages.iter().find(|page| page["type"] == "page").unwrap();
        let (socket, _) = connect_async(page["webSocketDebuggerUrl"].as_str().unwrap())
            .await
            .unwrap();
        let mut page = Self {
            socket,
            next: AtomicU64::new(1),
            complaints: Vec::new(),
            _browser: browser,
            _profile: profile,
        };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await;
        }
        Some(page)
    }

    /// Calls a method of the protocol; what happens meanwhile is noted.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = json!({"id": id, "method": method, "params": parameters}).to_string();
        self.socket.send(Message::text(call)).await.unwrap();
        let answered = timeout(Duration::from_secs(30), async {
            loop {
                let message = self.socket.next().await.unwrap().unwrap();
                let Ok(text) = message.into_text() else { continue };
                let message: Value = serde_json::from_str(text.as_str()).unwrap_or_default();
                let is_complaint = message["method"] == "Runtime.exceptionThrown"
                    || (message["method"] == "Log.entryAdded"
                        && message["params"]["entry"]["level"] == "error");
                if is_complaint {
                    self.complaints.push(message["params"].to_string());
                }
                if message["id"] == id {
                    return message;
                }
            }
        });
        let answer = answered.await.expect("the browser should have answered by now");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(crate) async fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// What an expression amounts to on the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    pub(crate) async fn text(&mut self, id: &str) -> String {
        let text = self
            .value(&format!("document.getElementById('{id}')?.textContent ?? ''"))
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let waited = timeout(Duration::from_secs(60), async {
            // While a page is being loaded there is nothing to look at.
            let looked = format!("(() => {{ try {{ return {expression} }} catch {{ return false }} }})()");
            while self.value(&looked).await != json!(true) {
                sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            let page = self.value("document.body?.innerText").await;
            panic!(
                "{expression} should be true by now: {page}\n{:?}",
                self.complaints
            );
        }
    }

    /// Presses what a selector names, with the mouse, where it is seen.
    pub(crate) async fn press(&mut self, selector: &str) {
        let place = self
            .value(&format!(
                "(() => {{ const one = document.querySelector('{selector}'); one.scrollIntoView({{block: 'center'}});
                    const box = one.getBoundingClientRect();
                    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                    const hit = document.elementFromPoint(x, y);
                    return {{x, y, hit: one === hit || one.contains(hit)}}; }})()"
            ))
            .await;
        assert_eq!(place["hit"], true, "something covers {selector}");
        for (kind, count) in [("mousePressed", 1), ("mouseReleased", 1)] {
            let event = json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": count});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types into what has the focus.
    pub(crate) async fn types(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Shows the page as on a screen of this width, and sees that nothing sticks out of it.
    pub(crate) async fn fits(&mut self, name: &str, width: u32, scheme: &str) {
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", screen).await;
        let scheme_of = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", scheme_of).await;
        sleep(Duration::from_millis(100)).await;
        let out = self
            .value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            .await;
        assert_eq!(out, 0, "the page is wider than {width}");
        if let Some(folder) = env::var_os("TEST_SCREENSHOTS") {
            let shot = self
                .call(
                    "Page.captureScreenshot",
                    json!({"format": "png", "captureBeyondViewport": true}),
                )
                .await;
            let png = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
            std::fs::write(
                PathBuf::from(folder).join(format!("{name}-{width}-{scheme}.png")),
                png,
            )
            .unwrap();
        }
    }

    /// The same at every width and in both lights.
    pub(crate) async fn fits_everywhere(&mut self, name: &str) {
        for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "dark"), (1280, "light")] {
            self.fits(name, width, scheme).await;
        }
    }
}
