//! Authentication. A token alone decides who may see and control a run; what else is checked keeps a browser from being turned against the
//! person who sits before it.
//!
//! - The name in `Host` must be an address, `localhost`, or one of the configured: a page from elsewhere that had its own name
//!   point to this machine (DNS rebinding) comes with that name.
//! - An `Origin`, where there is one, must be the page's own, so that no other site's page can send anything here.
//! - The token comes in `Authorization`, never in a cookie or an address: a browser adds it to nothing by itself, and it is in
//!   nobody's access log.

use std::{net::IpAddr, sync::Arc};

use axum::http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Stands before the live page.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    token: Secret,
    hosts: Hosts,
}

/// Stands before everything else.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// Lets these names in, beside addresses and `localhost`.
    pub(super) fn new(hosts: Vec<String>) -> Self {
        Self(hosts.into())
    }

    /// Returns true if what was asked for was asked for under a name of ours.
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

/// What is said to who may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Asked for under a name that is not ours.
    Host,
    /// From a page that is not ours.
    Origin,
    /// Without the token, or with another one.
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
            Self::Host => "refused: ask by address, as localhost or under a name of `live.hosts`\n",
            Self::Origin => "refused: this comes from another site's page\n",
            Self::Token => "refused: the token is missing or another one\n",
        }
    }
}

impl Auth {
    /// Lets in who brings `token`, under these names.
    pub(super) fn new(token: Secret, hosts: Hosts) -> Self {
        Self { token, hosts }
    }

    /// Returns true if the page itself may be had. There is nothing in it.
    pub(super) fn page(&self, headers: &HeaderMap) -> Result<(), Refused> {
        self.hosts.check(headers)
    }

    /// Returns true if what is behind the page may be had.
    pub(super) fn person(&self, headers: &HeaderMap) -> Result<(), Refused> {
        self.page(headers)?;
        if headers.contains_key(ORIGIN) {
            // Before the page may stand a proxy that ends TLS: the scheme says nothing.
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
        // How long it takes tells nothing of how much of it is right.
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

/// The host of `host`, `host:port` or `[address]:port`.
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
