//! One HTTP client, its connections shared by all tasks.

use std::time::SystemTime;

use fail::fail_point;
use reqwest::{
    Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use thiserror::Error;
use url::Url;

use super::{
    Answer, Refusal, RequestBody, answer,
    departure::{Departure, TimelyBody, was_too_late},
    retry_after::retry_after,
};
use crate::{
    config::ApiSettings,
    meter::{Exchange, Meter, Purpose},
    model::{Call, Secret, Subject},
};

const USER_BATCH: &str = "v1/mgmt/outbound/app/user/oauthtoken/batch/upload";
const TENANT_BATCH: &str = "v1/mgmt/outbound/app/tenant/oauthtoken/batch/upload";
const USER_SINGLE: &str = "v1/mgmt/outbound/app/user/oauthtoken/upload";
const TENANT_SINGLE: &str = "v1/mgmt/outbound/app/tenant/oauthtoken/upload";

/// An answer longer than this is not one of this API's: even a batch of thousands, all refused, stays below.
const LONGEST_ANSWER: usize = 16 << 20;

/// The client cannot be made from its settings.
#[derive(Debug, Error)]
#[error("the HTTP client cannot be set up")]
pub struct ApiError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Talks to the API. Says what an answer means, and never decides what to do about it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    meter: Meter,
    base: Url,
    user_batch: Url,
    tenant_batch: Url,
    user_single: Url,
    tenant_single: Url,
    management_key: Secret,
}

impl Client {
    /// A client with the settings' credentials, timeouts and base URL, whose requests `meter` counts.
    ///
    /// # Errors
    /// If the TLS roots of this machine cannot be loaded, or the settings do not make headers and URLs.
    pub fn new(settings: &ApiSettings, meter: Meter) -> Result<Self, ApiError> {
        // Only one provider is compiled in; an error here means that it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bearer = Secret::new(format!(
            "Bearer {}:{}",
            settings.project_id,
            settings.management_key.reveal()
        ));
        let mut authorization =
            HeaderValue::from_str(bearer.reveal()).map_err(|error| ApiError(error.into()))?;
        authorization.set_sensitive(true);
        let project = HeaderValue::from_str(&settings.project_id).map_err(|error| ApiError(error.into()))?;
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (HeaderName::from_static("x-descope-project-id"), project),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("tokenferry/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(settings.connect_timeout)
            // A redirect would carry tokens to an address nobody configured.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| ApiError(error.into()))?;
        let url = |path: &str| below(&settings.base_url, path);
        Ok(Self {
            http,
            meter,
            base: settings.base_url.clone(),
            user_batch: url(USER_BATCH),
            tenant_batch: url(TENANT_BATCH),
            user_single: url(USER_SINGLE),
            tenant_single: url(TENANT_SINGLE),
            management_key: settings.management_key.clone(),
        })
    }

    /// The key, for taking it out of texts.
    #[must_use]
    pub fn management_key(&self) -> &Secret {
        &self.management_key
    }

    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> Url {
        below(&self.base, path)
    }

    /// Sends the body of one batch, once, and only as long as it may depart.
    pub async fn upload(
        &self,
        subject: Subject,
        call: Call,
        body: &RequestBody,
        departure: Departure,
    ) -> Answer {
        let url = match (call, subject) {
            (Call::Batch, Subject::User) => &self.user_batch,
            (Call::Batch, Subject::Tenant) => &self.tenant_batch,
            (Call::Single, Subject::User) => &self.user_single,
            (Call::Single, Subject::Tenant) => &self.tenant_single,
        };
        let exchange = self.meter.request(Purpose::Upload);
        let body = reqwest::Body::wrap(TimelyBody::new(body.bytes(), departure));
        match self.http.post(url.clone()).body(body).send().await {
            Ok(response) => {
                fail_point!("sent");
                let status = response.status();
                let wait = retry_after(response.headers(), SystemTime::now());
                let body = whole_body(response).await;
                exchange.answered(status.as_u16());
                answer::interpret(call, subject, status.as_u16(), wait, body.as_deref())
            }
            Err(error) => {
                let refusal = wire_refusal(&error);
                exchange.lost(&refusal.code);
                // A connection that was never made carried nothing, and a request without its end is none.
                if error.is_connect() || was_too_late(&error) {
                    Answer::TryAgain {
                        retry_after: None,
                        refusal,
                    }
                } else {
                    Answer::Unknown {
                        under_way: true,
                        refusal,
                    }
                }
            }
        }
    }

    /// A question about who and what exists is about to leave.
    pub(super) fn lookup(&self) -> Exchange {
        self.meter.request(Purpose::Lookup)
    }

    /// A token is about to be deleted.
    pub(super) fn removal(&self) -> Exchange {
        self.meter.request(Purpose::Removal)
    }

    /// A token is about to be read back.
    pub(super) fn reading(&self) -> Exchange {
        self.meter.request(Purpose::ReadBack)
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let prefix = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{prefix}/{path}"));
    url
}

/// The body to its end; `None` if it broke off or is longer than any answer of this API.
pub(super) async fn whole_body(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

pub(super) fn wire_refusal(error: &reqwest::Error) -> Refusal {
    if was_too_late(error) {
        Refusal::wire(
            "held_up",
            "the process was held up before the request could leave: nothing was sent",
        )
    } else if error.is_connect() {
        Refusal::wire(
            "connect_failed",
            "the API could not be reached: no connection was made",
        )
    } else if error.is_timeout() {
        Refusal::wire("timeout", "the API did not answer within the timeout")
    } else {
        Refusal::wire(
            "connection_lost",
            "the connection was lost before the answer came",
        )
    }
}
