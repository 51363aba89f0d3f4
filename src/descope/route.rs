//! The route to the API, direct or through a proxy of the environment, and the causes of failed connections.

use std::{env, error::Error, fmt, io, time::Duration};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::ClientBuilder;
use rustls::{CertificateError, Error as TlsError};
use thiserror::Error;
use url::Url;

use super::Refusal;
use crate::config::{ApiSettings, is_loopback};

/// The variables that name a proxy for https; the first one that is set counts.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A proxy that the environment names and that cannot be used. A connection without it would send tokens on a
/// route that somebody meant to close. Its value may contain a password and is not shown.
#[derive(Debug, Error)]
#[error(
    "the environment variable {variable} does not name a usable proxy: it must look like http://HOST:PORT (https:// works, \
     socks does not); correct it, or add the API's host to NO_PROXY"
)]
pub struct UnusableProxy {
    variable: &'static str,
}

/// The route to the API. It has addresses only, never a URL, which may contain a password.
#[derive(Debug)]
pub(super) struct Route {
    /// `host:port` of the API.
    api: String,
    /// `host:port` of the proxy in between.
    proxy: Option<String>,
    connect_timeout: Duration,
}

impl Route {
    /// Returns the route that the environment defines. Requests to this machine never go through a proxy,
    /// because they are plain http with all secrets.
    pub(super) fn of(settings: &ApiSettings) -> Result<Self, UnusableProxy> {
        let url = &settings.base_url;
        let proxy = if is_loopback(url) { None } else { proxy_of(url)? };
        Ok(Self {
            api: address(url),
            proxy,
            connect_timeout: settings.connect_timeout,
        })
    }

    /// Configures a client for this route. reqwest finds the same proxy, because both use hyper-util.
    pub(super) fn configure(&self, client: ClientBuilder) -> ClientBuilder {
        match self.proxy {
            Some(_) => client,
            None => client.no_proxy(),
        }
    }

    pub(super) fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    /// Returns the reason why a request got no response.
    pub(super) fn refusal(&self, error: &reqwest::Error) -> Refusal {
        let api = self.far_end();
        if error.is_connect() {
            let text = self.why_not_connected(Cause::of(error));
            Refusal::wire("connect_failed", text)
        } else if error.is_timeout() {
            Refusal::wire("timeout", format!("{api} did not respond within `api.timeout`"))
        } else {
            Refusal::wire(
                "connection_lost",
                format!("the connection to {api} was lost before the response arrived"),
            )
        }
    }

    /// Returns the address of the API and of the proxy before it, because a failure behind a proxy may be
    /// caused by the proxy.
    fn far_end(&self) -> String {
        let api = &self.api;
        match self.proxy() {
            None => api.clone(),
            Some(proxy) => format!("{api} (through the proxy {proxy})"),
        }
    }

    /// Returns the address, the problem and the remedy as a text.
    fn why_not_connected(&self, Cause { at, what }: Cause) -> String {
        let (api, proxy) = (&self.api, self.proxy());
        let (address, setting) = match (at, proxy) {
            (At::Proxy, Some(proxy)) => (format!("the proxy {proxy}"), "HTTPS_PROXY or ALL_PROXY"),
            (At::Api, Some(_)) => (self.far_end(), "`api.base_url`, and HTTPS_PROXY or ALL_PROXY"),
            (_, None) => (self.far_end(), "`api.base_url`"),
        };
        let way_out = match proxy {
            None => "; if this network requires a proxy, set HTTPS_PROXY",
            Some(_) => "",
        };
        match what {
            What::Refused => format!(
                "nothing accepts connections at {address} (connection refused): check {setting} and firewalls"
            ),
            What::NoName => format!(
                "the name of {address} cannot be resolved (DNS): check {setting} and the DNS of this machine{way_out}"
            ),
            What::TimedOut => format!(
                "no connection to {address} within {} (`api.connect_timeout`): check {setting} and firewalls{way_out}",
                humantime::format_duration(self.connect_timeout)
            ),
            What::NoRoute => {
                format!("no route to {address}: check {setting} and this machine's network{way_out}")
            }
            What::Tls(tls) => tls.says(&address, setting),
            What::WantsPassword => format!(
                "{address} requires a user name and a password (407): set or correct them in the URL in {setting}"
            ),
            What::NoTunnel => {
                format!(
                    "{address} does not connect to {api}: allow that address in the proxy, or check {setting}"
                )
            }
            What::Other(kind) => {
                format!("no connection to {address} ({kind}): check {setting} and this machine's network")
            }
        }
    }
}

fn address(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Returns `host:port` of the proxy that the environment names for this URL.
fn proxy_of(url: &Url) -> Result<Option<String>, UnusableProxy> {
    let Ok(target) = url.as_str().parse() else {
        return Ok(None);
    };
    if let Some(proxy) = Matcher::from_env().intercept(&target) {
        let uri = proxy.uri();
        let default = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(unusable()),
        };
        let port = uri.port_u16().unwrap_or(default);
        return Ok(Some(format!("{}:{port}", uri.host().unwrap_or_default())));
    }
    // A proxy may be named in a form that hyper-util does not know. That is an error, unless the API is one
    // of the exceptions.
    let named = VARIABLES.iter().any(|name| value(name).is_some());
    let exceptions = value("NO_PROXY")
        .or_else(|| value("no_proxy"))
        .unwrap_or_default();
    let any = Matcher::builder().all("http://proxy").no(exceptions).build();
    // In a CGI script, HTTP_PROXY may come from a request; hyper-util uses no proxy there.
    if named && env::var_os("REQUEST_METHOD").is_none() && any.intercept(&target).is_some() {
        return Err(unusable());
    }
    Ok(None)
}

fn value(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn unusable() -> UnusableProxy {
    let variable = VARIABLES.into_iter().find(|name| value(name).is_some());
    UnusableProxy {
        variable: variable.unwrap_or(VARIABLES[0]),
    }
}

/// The place and the kind of a failure.
#[derive(Debug)]
struct Cause {
    at: At,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Api,
    Proxy,
}

#[derive(Debug)]
enum What {
    Refused,
    NoName,
    TimedOut,
    NoRoute,
    Tls(Tls),
    /// Status 407.
    WantsPassword,
    /// The proxy responds and makes no connection.
    NoTunnel,
    Other(String),
}

impl Cause {
    /// Returns the cause of an error. The errors of hyper-util have no public types; the tests of this
    /// program pin their texts.
    fn of(error: &reqwest::Error) -> Self {
        let mut at = At::Api;
        let mut what = None;
        if error.is_timeout() {
            what = Some(What::TimedOut);
        }
        if error.is_dns() {
            what = Some(What::NoName);
        }
        for link in Chain(Some(error)) {
            if let Some(tls) = link.downcast_ref::<TlsError>() {
                what = Some(What::Tls(Tls::of(tls)));
                break;
            }
            if let Some(io) = link.downcast_ref::<io::Error>() {
                what = what.or_else(|| What::of_io(io.kind()));
                continue;
            }
            let text = link.to_string();
            match text.strip_prefix("tunnel error: ") {
                Some(tunnel) => {
                    at = At::Proxy;
                    what = match tunnel {
                        "proxy authorization required" => Some(What::WantsPassword),
                        // The proxy itself is unreachable: the rest of the chain has the reason.
                        "failed to create underlying connection" => what,
                        _ => Some(What::NoTunnel),
                    };
                }
                None if text == "dns error" => what = Some(What::NoName),
                None => {}
            }
        }
        let what = what.unwrap_or_else(|| What::Other("unknown cause".to_owned()));
        Self { at, what }
    }
}

impl What {
    fn of_io(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Some(Self::NoRoute),
            // An error of these kinds wraps another one and says nothing by itself.
            io::ErrorKind::Other | io::ErrorKind::InvalidData => None,
            other => Some(Self::Other(other.to_string())),
        }
    }
}

/// An iterator over an error and its causes. An `io::Error` that wraps another error does not return that one
/// as its source, but skips it.
struct Chain<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Iterator for Chain<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let link = self.0?;
        self.0 = match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => link.source(),
        };
        Some(link)
    }
}

/// The reason why a TLS handshake failed.
#[derive(Debug)]
enum Tls {
    Expired,
    NotYetValid,
    UnknownAuthority,
    OtherName,
    Certificate(String),
    NotSpoken,
    NothingInCommon,
    Other(String),
}

impl Tls {
    fn of(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(certificate) => match certificate {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::UnknownIssuer => Self::UnknownAuthority,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::OtherName
                }
                other => Self::Certificate(short(other)),
            },
            TlsError::InvalidMessage(_) => Self::NotSpoken,
            TlsError::PeerIncompatible(_) => Self::NothingInCommon,
            other => Self::Other(short(other)),
        }
    }

    fn says(&self, address: &str, setting: &str) -> String {
        match self {
            Self::Expired => format!(
                "the certificate of {address} has expired: check this machine's clock, and renew the certificate if the clock is right"
            ),
            Self::NotYetValid => {
                format!("the certificate of {address} is not valid yet: check this machine's clock")
            }
            Self::UnknownAuthority => format!(
                "the certificate of {address} is issued by an unknown authority: add the authority's certificate to this \
                 machine (ca-certificates), or name its file in SSL_CERT_FILE"
            ),
            Self::OtherName => {
                format!("the certificate of {address} is issued for another name: check {setting}")
            }
            Self::Certificate(why) => format!(
                "the certificate of {address} is not accepted ({why}): it must be replaced on the server"
            ),
            Self::NotSpoken => format!("{address} does not speak TLS: check {setting} and its port"),
            Self::NothingInCommon => format!(
                "{address} and this program have no TLS version (1.2 or 1.3) or cipher in common: check {setting}"
            ),
            Self::Other(why) => format!("TLS with {address} failed ({why}): check {setting}"),
        }
    }
}

fn short(text: &impl fmt::Display) -> String {
    text.to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect()
}
