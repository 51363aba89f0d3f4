//! Transport: sends one HTTP request to the API, once, and tells whether it was answered.

use std::time::{Duration, SystemTime};

use fail::fail_point;
use reqwest::{RequestBuilder, Response};
use url::Url;

use super::{
    Refusal,
    retry_after::{date, retry_after},
    route::Route,
    send_deadline::was_too_late,
};
use crate::metrics::{Meter, Purpose};

/// An answer longer than this is not one of this API's: even a batch of thousands, all refused, stays below.
const LONGEST_ANSWER: usize = 16 << 20;

/// The connections to the API, shared by all tasks. Counts every request.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) meter: Meter,
    pub(super) route: Route,
    pub(super) base: Url,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: u16,
    /// How long the API asks us to wait.
    pub(super) retry_after: Option<Duration>,
    /// When it was given, by the server's clock.
    pub(super) date: Option<SystemTime>,
    /// Its whole body, or `None` if that could not be read to its end.
    pub(super) body: Option<Vec<u8>>,
}

/// Why there is no answer that counts.
pub(super) enum NoReply {
    /// The request was not processed: it never left, or was turned away for a reason that is no longer one.
    NotProcessed(Refusal),
    /// It left, and may have been processed.
    Lost(Refusal),
}

impl NoReply {
    pub(super) fn into_refusal(self) -> Refusal {
        match self {
            Self::NotProcessed(refusal) | Self::Lost(refusal) => refusal,
        }
    }
}

impl Transport {
    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/{path}"));
        url
    }

    /// Sends a request, once.
    pub(super) async fn send(&self, purpose: Purpose, request: RequestBuilder) -> Result<Reply, NoReply> {
        let exchange = self.meter.request(purpose);
        match request.send().await {
            Ok(response) => {
                if purpose == Purpose::Upload {
                    fail_point!("sent");
                }
                let headers = response.headers();
                let (status, retry_after, date) = (
                    response.status().as_u16(),
                    retry_after(headers, SystemTime::now()),
                    date(headers),
                );
                let body = whole_body(response).await;
                exchange.answered(status);
                Ok(Reply {
                    status,
                    retry_after,
                    date,
                    body,
                })
            }
            Err(error) => {
                let is_too_late = was_too_late(&error);
                let refusal = if is_too_late {
                    let text = "the process was held up before the request could leave: nothing was sent";
                    Refusal::wire("held_up", text)
                } else {
                    self.route.refusal(&error)
                };
                exchange.lost(&refusal.code);
                // A connection that was never made carried nothing, and a request without its end is none.
                Err(if error.is_connect() || is_too_late {
                    NoReply::NotProcessed(refusal)
                } else {
                    NoReply::Lost(refusal)
                })
            }
        }
    }
}

/// The body to its end; `None` if it broke off or is longer than any answer of this API.
async fn whole_body(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
