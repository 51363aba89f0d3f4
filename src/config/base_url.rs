//! The base URL of a project's API.

use url::{Host, Url};

/// A project ID of at least this many characters contains its region; shorter ones belong to the first
/// region.
/// Source: the official SDKs (Go 1.30, Node 2.13, Python 2.16).
const REGIONAL_ID_LENGTH: usize = 32;

/// Returns the base URL of a project's API: `https://api.descope.com`, or `https://api.<region>.descope.com`
/// if characters 2 to 5 of the ID name a region.
pub(super) fn for_project(project_id: &str) -> String {
    match project_id.get(1..5) {
        Some(region) if project_id.len() >= REGIONAL_ID_LENGTH => format!("https://api.{region}.descope.com"),
        _ => "https://api.descope.com".to_owned(),
    }
}

/// Returns true if the URL points to this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Accepts https anywhere but plain http only to this machine, so that no token crosses a network
/// unencrypted.
pub(super) fn check(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text.trim()).map_err(|_| "must be a URL such as https://api.descope.com")?;
    match url.scheme() {
        _ if url.host().is_none() => Err("must be a URL with a host"),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("must not carry a user name or password")
        }
        _ if url.query().is_some() || url.fragment().is_some() => Err("must end with the host or a path"),
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => {
            Err("must begin with https:// (plain http is accepted only for this machine's own addresses)")
        }
        _ => Err("must begin with https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_comes_from_long_ids_only() {
        assert_eq!(
            for_project("P2abcdefghijklmnopqrstuvwxyz"),
            "https://api.descope.com"
        );
        assert_eq!(
            for_project("Peuc1abcdefghijklmnopqrstuvwxyz12"),
            "https://api.euc1.descope.com"
        );
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "https://api.descope.com",
            "http://127.0.0.1:4000",
            "http://localhost:1",
            "http://[::1]:80/x",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.descope.com",
            "ftp://x",
            "nonsense",
            "https://u:p@x",
            "https://x/?a=b",
            "http://127.0.0.1.example",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
