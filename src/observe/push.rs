//! Push of a run's final metrics to a Pushgateway, for runs that end before they are scraped.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Client, Url, header::CONTENT_TYPE};
use tracing::{info, warn};

use crate::{
    config::{is_loopback, push_url_problem},
    domain::Mode,
    secret::Secret,
};

/// The longest wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(10);

/// The group of one kind of run at the gateway. Its URL may contain a password and is never printed.
#[derive(Debug, Clone)]
pub struct Pushgateway(Secret);

impl Pushgateway {
    /// Builds the group's URL; `None` if the gateway's URL is unusable. Each mode has its own group, since a
    /// push replaces the previous values.
    #[must_use]
    pub fn new(url: &Secret, migration: &str, mode: Mode) -> Option<Self> {
        push_url_problem(url.reveal()).ok()?;
        let mut url = Url::parse(url.reveal().trim()).ok()?;
        {
            let mut path = url.path_segments_mut().ok()?;
            path.pop_if_empty().extend(["metrics", "job", "tokenferry"]);
            // A slash would end the value, even if encoded.
            if migration.contains('/') {
                let encoded = BASE64_URL_SAFE_NO_PAD.encode(migration);
                path.extend(["migration@base64", &encoded]);
            } else {
                path.extend(["migration", migration]);
            }
            if mode != Mode::Migrate {
                path.extend(["mode", mode.as_str()]);
            }
        }
        Some(Self(Secret::new(String::from(url))))
    }

    /// Pushes the metrics. A failure does not fail the run.
    pub(super) async fn push(&self, text: String) {
        // Fails only if the provider is already installed; only this one is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let put = async {
            let client = Client::builder().timeout(PATIENCE);
            // Requests to this machine bypass the proxy: they may contain the gateway's password.
            let stays = Url::parse(self.0.reveal()).is_ok_and(|url| is_loopback(&url));
            let client = if stays { client.no_proxy() } else { client };
            let client = client.build()?;
            let request = client.put(self.0.reveal());
            let request = request.header(CONTENT_TYPE, prometheus::TEXT_FORMAT).body(text);
            request.send().await?.error_for_status()
        };
        match put.await {
            Ok(_) => info!("metrics pushed"),
            // The error would contain the URL.
            Err(error) => warn!(
                status = error.status().map(|status| status.as_u16()),
                reason = %error.without_url(),
                "metrics push failed, run not affected"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_and_kind_of_run_has_a_group_of_its_own() {
        let group = |url: &str, migration: &str, mode| {
            let gateway = Pushgateway::new(&Secret::new(url), migration, mode).unwrap();
            gateway.0.reveal().to_owned()
        };
        assert_eq!(
            group("http://push:9091", "crm-tokens", Mode::Migrate),
            "http://push:9091/metrics/job/tokenferry/migration/crm-tokens"
        );
        assert_eq!(
            group("https://u:p@push/prefix/", "crm tokens?", Mode::Verify),
            "https://u:p@push/prefix/metrics/job/tokenferry/migration/crm%20tokens%3F/mode/verify"
        );
        assert_eq!(
            group("http://push:9091/", "crm/tokens", Mode::DryRun),
            "http://push:9091/metrics/job/tokenferry/migration@base64/Y3JtL3Rva2Vucw/mode/dry_run"
        );
        assert!(Pushgateway::new(&Secret::new("push:9091"), "crm", Mode::Migrate).is_none());
    }
}
