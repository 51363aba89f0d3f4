//! `[metrics]` and `[live]`: how a run is watched and steered from elsewhere.

use std::net::SocketAddr;

use config::ValueKind;
use url::Url;

use super::reader::{Reader, Visibility};
use crate::secret::Secret;

/// Where the figures go.
#[derive(Debug, Clone, Default)]
pub struct MetricsSettings {
    /// Where they can be fetched while a run works.
    pub listen: Option<SocketAddr>,
    /// Where they are pushed to when it ends; may carry a password.
    pub push_url: Option<Secret>,
}

/// The page that shows a run and steers it.
#[derive(Debug, Clone, Default)]
pub struct LiveSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// What it takes to see and steer; else it is made up at start.
    pub token: Option<Secret>,
    /// Names under which a browser may ask for it, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// Nobody guesses so many characters.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn metrics(reader: &mut Reader<'_>) -> MetricsSettings {
    let listen = reader.text("metrics.listen").map(|text| text.trim().parse());
    reader.default("metrics.listen", "nobody listens");
    let push_url = reader.text("metrics.push_url");
    reader.show("metrics.push_url", Visibility::Address);
    reader.default("metrics.push_url", "nothing is pushed");
    if let Some(Err(_)) = listen {
        reader.problem(
            "metrics.listen",
            "must be an address and a port, such as \"127.0.0.1:9184\"",
        );
    }
    if let Some(Err(must)) = push_url.as_deref().map(push_url_problem) {
        reader.problem("metrics.push_url", must);
    }
    MetricsSettings {
        listen: listen.and_then(Result::ok),
        push_url: push_url.map(Secret::new),
    }
}

/// Whether figures can be pushed there.
///
/// # Errors
/// What is wrong with it, without the URL.
pub fn push_url_problem(text: &str) -> Result<(), &'static str> {
    const MUST: &str = "must be the URL of a Pushgateway, such as http://pushgateway:9091";
    let url = Url::parse(text.trim()).map_err(|_| MUST)?;
    match url.scheme() {
        "http" | "https" if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(()),
        _ => Err(MUST),
    }
}

pub(super) fn live(reader: &mut Reader<'_>) -> LiveSettings {
    let enabled = reader.flag("live.enabled");
    let token = reader.secret("live.token");
    reader.default("live.token", "made up at start, and printed");
    if let Some(token) = &token {
        let text = token.reveal();
        if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            reader.problem(
                "live.token",
                "must be at least 16 visible ASCII characters, such as what `openssl rand -hex 24` prints",
            );
        }
    }
    LiveSettings {
        enabled,
        token,
        hosts: hosts(reader),
    }
}

/// A list, or, as in an environment variable, a text with commas.
fn hosts(reader: &mut Reader<'_>) -> Vec<String> {
    const KEY: &str = "live.hosts";
    let hosts: Option<Vec<String>> = match reader.value(KEY).map(|value| &value.kind) {
        None => Some(Vec::new()),
        Some(ValueKind::String(text)) => Some(text.split(',').map(|host| host.trim().to_owned()).collect()),
        Some(ValueKind::Array(list)) => {
            let texts = list.iter().map(|host| match &host.kind {
                ValueKind::String(text) => Some(text.trim().to_owned()),
                _ => None,
            });
            texts.collect()
        }
        Some(_) => None,
    };
    reader.default(KEY, "addresses and localhost");
    let is_name = |host: &String| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !host.is_empty() && host.bytes().all(allowed)
    };
    match hosts {
        Some(hosts) if hosts.iter().all(is_name) => {
            hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect()
        }
        _ => {
            reader.problem(KEY, "must be a list of host names, such as [\"ferry.internal\"]");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_pushed_to_urls_that_a_path_can_be_put_behind() {
        for url in ["http://pushgateway:9091", "https://u:p@push.internal/prefix/"] {
            assert_eq!(push_url_problem(url), Ok(()), "{url}");
        }
        for url in [
            "pushgateway:9091",
            "ftp://x",
            "http://x/?job=a",
            "unix:/run/x",
            "",
        ] {
            assert!(push_url_problem(url).is_err(), "{url}");
        }
    }
}
