//! A request on its way, and its response.

use std::time::{Duration, SystemTime};

use fail::fail_point;
use reqwest::{RequestBuilder, Response};

use super::{
    Client, Refusal,
    error_body::ErrorBody,
    license::HEADER,
    retry_after::{date, retry_after},
    send_deadline::was_too_late,
    status::StatusClass,
};
use crate::metrics::{Exchange, Purpose};

/// An answer longer than this is not one of this API's: even a batch of thousands, all refused, stays below.
const LONGEST_ANSWER: usize = 16 << 20;

/// A request that is about to leave, counted from here on.
pub(super) struct Outgoing<'a> {
    client: &'a Client,
    purpose: Purpose,
    exchange: Exchange,
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

impl<'a> Outgoing<'a> {
    pub(super) fn new(client: &'a Client, purpose: Purpose) -> Self {
        Self {
            client,
            purpose,
            exchange: client.meter.request(purpose),
        }
    }

    /// Sends a management call, once.
    pub(super) async fn send(self, request: RequestBuilder) -> Result<Reply, NoReply> {
        let client = self.client;
        let tier = client.licensing.tier();
        let request = match &tier {
            Some(tier) => request.header(HEADER, tier.clone()),
            None => request,
        };
        let reply = self.send_bare(request).await?;
        // A gateway may refuse whoever names a tier that the project no longer has.
        if StatusClass::of(reply.status) == StatusClass::Credentials
            && client.has_another_tier(tier.as_ref()).await
        {
            let refusal = Refusal {
                status: Some(reply.status),
                code: "license_changed".into(),
                text: "the project's rate-limit tier has changed".to_owned(),
            };
            // Whoever has no code of the service's may have answered after it.
            return Err(match ErrorBody::of(reply.body.as_deref()).service_code() {
                Some(_) => NoReply::NotProcessed(refusal),
                None => NoReply::Lost(refusal),
            });
        }
        Ok(reply)
    }

    /// The same without naming the licence.
    pub(super) async fn send_bare(self, request: RequestBuilder) -> Result<Reply, NoReply> {
        match request.send().await {
            Ok(response) => {
                if self.purpose == Purpose::Upload {
                    fail_point!("sent");
                }
                let headers = response.headers();
                let (status, retry_after, date) = (
                    response.status().as_u16(),
                    retry_after(headers, SystemTime::now()),
                    date(headers),
                );
                let body = whole_body(response).await;
                self.exchange.answered(status);
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
                    self.client.route.refusal(&error)
                };
                self.exchange.lost(&refusal.code);
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
