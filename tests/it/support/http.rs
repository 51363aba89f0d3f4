//! Raw requests, for what the program's own client would not send.

use std::time::Duration;

use reqwest::Client;

pub(crate) fn client() -> Client {
    // reqwest wants one even where no connection is encrypted; only the first call installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}
