//! Authentication. The token alone decides who may see and control a run; the other checks keep a malicious
//! site from using the person's browser.
//!
//! - The name in `Host` must be an address, `localhost` or a configured name. A DNS-rebinding attack arrives
//!   with the attacker's own name.
//! - An `Origin` header must be the page's own, so that no other site can send anything here.
//! - The token comes in `Authorization`, never in a cookie or a URL: browsers do not add it by themselves,
//!   and it does not appear in access logs.

use std::{net::IpAddr, sync::Arc};

use axum::http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Guards the live page.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    token: Secret,
    hosts: Hosts,
}

/// Guards all routes.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// Allows these names, besides addresses and `localhost`.
    pub(super) fn new(hosts: Vec<String>) -> Self {
        Self(hosts.into())
    }

    /// Checks that the request uses an allowed host name.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let authority = text(headers, &HOST).ok_or(Refused::Host)?;
        let host = host_of(authority).ok_or(Refused::Host)?.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        if host == "localhost" || address.parse::<IpAddr>().is_ok() || self.0.contains(&host) {
            Ok(())
        } else {
            Err(Refused::Host)
        }
    }
}

/// The reason of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A host name that is not allowed.
    Host,
    /// Another site's page.
    Origin,
    /// A missing or wrong token.
    Token,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Host => "refused: use an IP address, localhost or a name in `live.hosts`\n",
            Self::Origin => "refused: the request comes from another site\n",
            Self::Token => "refused: the token is missing or wrong\n",
        }
    }
}

impl Auth {
    /// Accepts `token` under these names.
    pub(super) fn new(token: Secret, hosts: Hosts) -> Self {
        Self { token, hosts }
    }

    /// Checks access to the page itself, which contains nothing.
    pub(super) fn page(&self, headers: &HeaderMap) -> Result<(), Refused> {
        self.hosts.check(headers)
    }

    /// Checks access to the data and actions behind the page.
    pub(super) fn person(&self, headers: &HeaderMap) -> Result<(), Refused> {
        self.page(headers)?;
        if headers.contains_key(ORIGIN) {
            // A TLS proxy may be in front of the page, so the scheme is not compared.
            let authority = text(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
            if authority.map(|(_, authority)| authority) != text(headers, &HOST) {
                return Err(Refused::Origin);
            }
        }
        if text(headers, &FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Refused::Origin);
        }
        let given = text(headers, &AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        // Compares in constant time.
        if bool::from(given.as_bytes().ct_eq(self.token.reveal().as_bytes())) {
            Ok(())
        } else {
            Err(Refused::Token)
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns the host of `host`, `host:port` or `[address]:port`.
fn host_of(authority: &str) -> Option<&str> {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(host),
        _ if authority.is_empty() => None,
        _ => Some(authority),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn guard() -> Auth {
        Auth::new(
            Secret::new("the-token-of-the-test"),
            Hosts::new(vec!["ferry.internal".into()]),
        )
    }

    fn asked(headers: &[(&'static str, &'static str)]) -> Result<(), Refused> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        guard().person(&headers.collect())
    }

    const RIGHT: (&str, &str) = ("authorization", "Bearer the-token-of-the-test");

    #[test]
    fn a_name_that_is_not_ours_is_refused_before_the_token_is_looked_at() {
        for host in [
            "127.0.0.1:9184",
            "localhost:9184",
            "[::1]:9184",
            "10.2.3.4",
            "Ferry.Internal:80",
            "[fe80::1]",
        ] {
            assert_eq!(asked(&[("host", host), RIGHT]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:9184",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9184",
            "",
        ] {
            assert_eq!(asked(&[("host", host), RIGHT]), Err(Refused::Host), "{host}");
        }
        assert_eq!(asked(&[RIGHT]), Err(Refused::Host));
    }

    #[test]
    fn no_other_site_can_send_anything() {
        let host = ("host", "127.0.0.1:9184");
        for origin in ["http://127.0.0.1:9184", "https://127.0.0.1:9184"] {
            assert_eq!(asked(&[host, ("origin", origin), RIGHT]), Ok(()), "{origin}");
        }
        for origin in ["http://evil.example", "http://127.0.0.1:9999", "null", ""] {
            let refused = asked(&[host, ("origin", origin), RIGHT]);
            assert_eq!(refused, Err(Refused::Origin), "{origin}");
        }
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(asked(&[host, cross, RIGHT]), Err(Refused::Origin));
        assert_eq!(asked(&[host, ("sec-fetch-site", "same-origin"), RIGHT]), Ok(()));
    }

    #[test]
    fn the_token_is_the_whole_token() {
        let host = ("host", "localhost");
        for header in [
            "Bearer the-token-of-the-tes",
            "Bearer the-token-of-the-testt",
            "Bearer ",
            "Bearer",
            "Basic the-token-of-the-test",
            "the-token-of-the-test",
        ] {
            let refused = asked(&[host, ("authorization", header)]);
            assert_eq!(refused, Err(Refused::Token), "{header}");
        }
        assert_eq!(asked(&[host]), Err(Refused::Token));
        assert_eq!(
            asked(&[host, ("authorization", "bearer the-token-of-the-test")]),
            Ok(())
        );
    }
}
