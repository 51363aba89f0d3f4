//! A run of the real program that listens, and what is asked of it.

use std::{process::Stdio, time::Duration};

use prometheus_parse::{Sample, Scrape, Value};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::support::{
    bed::{Bed, Ran},
    http,
};

pub(crate) const LIVE_TOKEN: &str = "l1ve-t0ken-of-this-test";

/// A run that listens.
pub(crate) struct Watched {
    child: Child,
    stderr: JoinHandle<String>,
    stdout: JoinHandle<String>,
    pub(crate) address: String,
    http: Client,
}

impl Watched {
    /// Starts the program, with a page, and waits until it says where it listens.
    pub(crate) async fn start(bed: &Bed, arguments: &[&str]) -> Self {
        Self::start_with(bed, arguments, &["--live"]).await
    }

    /// The same without a page.
    pub(crate) async fn start_without_page(bed: &Bed, arguments: &[&str]) -> Self {
        Self::start_with(bed, arguments, &[]).await
    }

    /// The same for a process that may have so many file descriptors.
    pub(crate) async fn start_with_descriptors(bed: &Bed, arguments: &[&str], most: u32) -> Self {
        let plain = bed.command(arguments);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
            .arg(plain.as_std().get_program())
            .args(plain.as_std().get_args())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in plain.as_std().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::start_command(command, &[]).await
    }

    async fn start_with(bed: &Bed, arguments: &[&str], page: &[&str]) -> Self {
        Self::start_command(bed.command(arguments), page).await
    }

    async fn start_command(mut command: Command, page: &[&str]) -> Self {
        command
            .args(["--metrics-listen", "127.0.0.1:0", "--log-format", "json"])
            .args(page)
            .env("TOKENFERRY__LIVE__TOKEN", LIVE_TOKEN)
            .stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut stdout = child.stdout.take().unwrap();
        let stdout = tokio::spawn(async move {
            let mut text = String::new();
            stdout.read_to_string(&mut text).await.unwrap();
            text
        });
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next_line().await.unwrap() else {
                panic!("it ended before it listened: {said}")
            };
            said += &line;
            said.push('\n');
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = line["address"].as_str() {
                break address.to_owned();
            }
        };
        let stderr = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                said += &line;
                said.push('\n');
            }
            said
        });
        Self {
            child,
            stderr,
            stdout,
            address,
            http: http::client(),
        }
    }

    /// A request without a token.
    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.ask(Method::GET, path).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// An order of the page's.
    pub(crate) async fn order(&self, what: &str, body: &str) -> (StatusCode, String) {
        let request = self.ask(Method::POST, &format!("/live/{what}"));
        let request = request
            .bearer_auth(LIVE_TOKEN)
            .header("content-type", "application/json");
        let response = request.body(body.to_owned()).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The figures, as a strict reader finds them.
    pub(crate) async fn figures(&self) -> Figures {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Figures::read(&text)
    }

    /// Waits until the figures are as expected.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Figures) -> bool) -> Figures {
        let waited = timeout(Duration::from_secs(30), async {
            loop {
                let figures = self.figures().await;
                if is(&figures) {
                    return figures;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("{what} should have come by now"))
    }

    /// How it ended.
    pub(crate) async fn ended(mut self) -> Ran {
        let status = timeout(Duration::from_secs(60), self.child.wait()).await;
        let code = status
            .expect("the program should have ended by now")
            .unwrap()
            .code();
        let stderr = self.stderr.await.unwrap();
        assert!(
            !stderr.contains(LIVE_TOKEN),
            "the page's token is in the log:\n{stderr}"
        );
        Ran {
            code: code.unwrap_or(-1),
            stdout: self.stdout.await.unwrap(),
            stderr,
        }
    }
}

/// What was exported.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) samples: Vec<Sample>,
    pub(crate) text: String,
}

impl Figures {
    /// Reads the text format, and takes offence at whatever Prometheus would.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "{text}");
        let mut family = String::new();
        let mut kind = String::new();
        let mut families = Vec::new();
        let mut series = Vec::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty(), "{line}");
                assert!(!families.contains(&name.to_owned()), "{name} comes twice");
                families.push(name.to_owned());
                name.clone_into(&mut family);
                continue;
            }
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, typed) = typed.split_once(' ').unwrap();
                assert_eq!(name, family, "{line}");
                typed.clone_into(&mut kind);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                continue;
            }
            let (name_and_labels, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = name_and_labels.split('{').next().unwrap();
            let suffix = name
                .strip_prefix(family.as_str())
                .unwrap_or_else(|| panic!("{line}"));
            let suffixes: &[&str] = match kind.as_str() {
                "counter" | "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => panic!("{kind}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(name.starts_with("tokenferry_"), "{line}");
            assert!(
                !series.contains(&name_and_labels.to_owned()),
                "{line} comes twice"
            );
            series.push(name_and_labels.to_owned());
        }
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = Scrape::parse(lines).unwrap().samples;
        Self {
            samples,
            text: text.to_owned(),
        }
    }

    /// The sum of all figures with this name and these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fitting = self.samples.iter().filter(|sample| {
            sample.metric == format!("tokenferry_{name}")
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(label) == Some(value))
        });
        let values: Vec<f64> = fitting
            .map(|sample| match &sample.value {
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
                // All of them are in the last bucket.
                Value::Histogram(buckets) => buckets.last().unwrap().count,
                Value::Summary(_) => panic!("{sample:?}"),
            })
            .collect();
        assert!(!values.is_empty(), "no {name} {labels:?} in\n{}", self.text);
        values.iter().sum()
    }

    /// The same, as a whole number.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let sum = self.sum(name, labels);
        assert!(sum.fract() == 0.0, "{name} {labels:?} is {sum}");
        #[expect(clippy::cast_possible_truncation, reason = "whole, and small")]
        let count = sum as i64;
        count
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let help = self.text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        help.filter_map(|line| line.split(' ').next()).collect()
    }
}
