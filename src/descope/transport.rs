//! Transport: sends one HTTP request to the API, once, and returns its reply or the reason why there is none.

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

/// Maximum length of a response of this API: even a batch of thousands, all rejected, stays below it.
const LONGEST_ANSWER: usize = 16 << 20;

/// The connections to the API, shared by all tasks. Counts every request.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) meter: Meter,
    pub(super) route: Route,
    pub(super) base: Url,
}

/// A response.
pub(super) struct Reply {
    pub(super) status: u16,
    /// The wait that the API asks for.
    pub(super) retry_after: Option<Duration>,
    /// Time of the response by the clock of the server.
    pub(super) date: Option<SystemTime>,
    /// The whole body, or `None` if it could not be read to its end.
    pub(super) body: Option<Vec<u8>>,
}

/// The reason why there is no usable reply.
pub(super) enum NoReply {
    /// The request was not processed: it did not leave completely, or was rejected for a reason that no
    /// longer exists.
    NotProcessed(Refusal),
    /// It was sent, and may have been processed.
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
    /// Returns the URL of a path.
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
                    let text = "the request was delayed for too long before all of it was sent: nothing of it is stored";
                    Refusal::wire("held_up", text)
                } else {
                    self.route.refusal(&error)
                };
                exchange.lost(&refusal.code);
                // A connection that was never made carried nothing, and a request without its end is
                // incomplete.
                Err(if error.is_connect() || is_too_late {
                    NoReply::NotProcessed(refusal)
                } else {
                    NoReply::Lost(refusal)
                })
            }
        }
    }
}

/// Reads the body to its end. `None` if it breaks off, or is longer than any response of this API.
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
