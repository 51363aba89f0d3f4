//! The `[metrics]` and `[live]` sections: monitoring and control of a run.

use std::net::SocketAddr;

use config::ValueKind;
use url::Url;

use super::reader::{Reader, Visibility};
use crate::secret::Secret;

/// The settings for metrics.
#[derive(Debug, Clone, Default)]
pub struct MetricsSettings {
    /// The address that serves them during a run.
    pub listen: Option<SocketAddr>,
    /// The URL they are pushed to when the run ends; may contain a password.
    pub push_url: Option<Secret>,
}

/// The settings of the live page.
#[derive(Debug, Clone, Default)]
pub struct LiveSettings {
    /// True if the page is served.
    pub enabled: bool,
    /// The token that the page asks for; generated at start if unset.
    pub token: Option<Secret>,
    /// Host names that a browser may use besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// The shortest token that cannot be guessed, in characters.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn metrics(reader: &mut Reader<'_>) -> MetricsSettings {
    let listen = reader.text("metrics.listen").map(|text| text.trim().parse());
    reader.default("metrics.listen", "not served");
    let push_url = reader.text("metrics.push_url");
    reader.show("metrics.push_url", Visibility::Address);
    reader.default("metrics.push_url", "not pushed");
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

/// Checks that metrics can be pushed there.
///
/// # Errors
/// Says what is wrong with the URL, without showing it.
pub fn push_url_problem(text: &str) -> Result<(), &'static str> {
    const MUST: &str = "must be the URL of a Pushgateway, such as http://pushgateway:9091";
    let url = Url::parse(text.trim()).map_err(|_| MUST)?;
    match url.scheme() {
        "http" | "https" if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(()),
        _ => Err(MUST),
    }
}

pub(super) fn live(reader: &mut Reader<'_>) -> LiveSettings {
    let enabled = reader.flag("live.enabled", false);
    let token = reader.secret("live.token");
    reader.default("live.token", "generated at start and printed");
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

/// Reads a list, or a text separated by commas, as in an environment variable.
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
