//! Monitoring options: flags over configuration, and the page's address on the terminal.

use std::{
    io::{self, IsTerminal},
    net::{Ipv4Addr, SocketAddr},
};

use rand::distr::{Alphanumeric, SampleString};
use tracing::{info, warn};
use url::Url;

use super::{
    args::{Global, LogFormat, WatchArgs},
    exit::UsageError,
};
use crate::{
    config::{Settings, push_url_problem},
    domain::Mode,
    observe::{LiveOptions, MonitoringOptions, MonitoringServer, Pushgateway},
    report::LiveArea,
    secret::Secret,
};

/// The length of a generated token.
const TOKEN_LENGTH: usize = 43;

/// The requested monitoring, and the way to announce the page's address.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) options: MonitoringOptions,
    told: Told,
}

/// The way to announce the page's address.
#[derive(Debug)]
enum Told {
    /// No page is served.
    Nothing,
    /// Without the token, which the user has configured.
    Address,
    /// With the token, and only on a terminal: a log would keep it.
    WithToken(Secret),
}

impl Watching {
    /// Combines flags and configuration; flags win.
    pub(super) fn new(
        args: &WatchArgs,
        global: &Global,
        settings: &Settings,
        mode: Mode,
    ) -> Result<Self, UsageError> {
        let push = match &args.metrics_push {
            Some(url) => Some(push_flag(url)?),
            None => settings.metrics.push_url.clone(),
        };
        let mut options = MonitoringOptions {
            listen: args.metrics_listen.or(settings.metrics.listen),
            insists: args.metrics_listen.is_some(),
            hosts: settings.live.hosts.clone(),
            live: None,
            push: push.and_then(|url| Pushgateway::new(&url, &settings.migration, mode)),
        };
        if !(args.live || settings.live.enabled) {
            return Ok(Self {
                options,
                told: Told::Nothing,
            });
        }
        let (token, told) = match &settings.live.token {
            Some(token) => (token.clone(), Told::Address),
            None if io::stderr().is_terminal() && global.log_format != LogFormat::Json => {
                let token = Secret::new(Alphanumeric.sample_string(&mut rand::rng(), TOKEN_LENGTH));
                (token.clone(), Told::WithToken(token))
            }
            None => {
                return Err(UsageError(
                    "the live page needs a token, and there is no terminal to print a generated one on: set `live.token`, for example with \
                     TOKENFERRY__LIVE__TOKEN=file:/run/secrets/live-token"
                        .to_owned(),
                ));
            }
        };
        // The page needs no configured port to be opened on the same machine.
        options
            .listen
            .get_or_insert(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        options.insists = true;
        options.live = Some(LiveOptions {
            token,
            ledger: settings.ledger_access(),
        });
        Ok(Self { options, told })
    }

    /// Takes the options, and leaves what is to be announced.
    pub(super) fn take_orders(&mut self) -> MonitoringOptions {
        std::mem::take(&mut self.options)
    }

    /// Announces the address of the page. It stays below the progress lines, where the log does not move it
    /// away.
    pub(super) fn tell(&self, monitoring: &MonitoringServer, live_area: Option<&LiveArea>) {
        let Some(address) = monitoring.address() else {
            return;
        };
        let page = match address.ip() {
            // Bound to all addresses: localhost always works.
            ip if ip.is_unspecified() => format!("http://localhost:{}/", address.port()),
            _ => format!("http://{address}/"),
        };
        let mut pinned = format!("live page: {page}");
        match &self.told {
            Told::Nothing => return,
            Told::Address => info!(%page, "live page available, `live.token` required"),
            Told::WithToken(token) => {
                let line = format!("live page: {page}#token={}", token.reveal());
                eprintln!("{line}");
                pinned = line;
            }
        }
        if let Some(live_area) = live_area {
            live_area.pin(pinned);
        }
        if !address.ip().is_loopback() {
            warn!(
                "live page is served beyond this machine without TLS, so anyone who can read the traffic can control the run: put a \
                 TLS proxy in front of it, or listen on 127.0.0.1 and forward the port"
            );
        }
    }
}

/// Rejects a password in an argument: process lists show it.
fn push_flag(text: &str) -> Result<Secret, UsageError> {
    push_url_problem(text).map_err(|must| UsageError(format!("--metrics-push {must}")))?;
    match Url::parse(text.trim()) {
        Ok(url) if url.password().is_none() => Ok(Secret::new(text)),
        _ => Err(UsageError(
            "--metrics-push must not contain a password, which process lists would show: set `metrics.push_url`, for \
             example with TOKENFERRY__METRICS__PUSH_URL=file:/run/secrets/push-url"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_argument() {
        assert!(push_flag("http://push:9091").is_ok());
        let refused = push_flag("http://ferry:hunter2@push:9091")
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("metrics.push_url") && !refused.contains("hunter2"),
            "{refused}"
        );
        let refused = push_flag("push.internal").unwrap_err().to_string();
        assert!(refused.starts_with("--metrics-push must be the URL"), "{refused}");
    }
}
