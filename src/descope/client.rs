//! API client: its connections are shared by all tasks.

use std::sync::Arc;

use reqwest::{
    RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect, retry,
};
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::Url;

use super::{
    License, LookupOutcome, PayForLicense, RequestBody, UploadOutcome,
    license::Licensing,
    lookup_response, response,
    route::{Route, UnusableProxy},
    send_deadline::{DeadlineBody, SendDeadline},
    transport::{NoReply, Transport},
};
use crate::{
    config::ApiSettings,
    domain::{Batch, Call, Subject},
    metrics::{Meter, Purpose},
    secret::{BufferPool, Secret},
};

const USER_BATCH: &str = "v1/mgmt/outbound/app/user/oauthtoken/batch/upload";
const TENANT_BATCH: &str = "v1/mgmt/outbound/app/tenant/oauthtoken/batch/upload";
const USER_SINGLE: &str = "v1/mgmt/outbound/app/user/oauthtoken/upload";
const TENANT_SINGLE: &str = "v1/mgmt/outbound/app/tenant/oauthtoken/upload";

/// The reasons why a client cannot be created.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The TLS roots of this machine cannot be loaded, or a setting is not a valid header value.
    #[error("the HTTP client cannot be set up")]
    SetUp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] UnusableProxy),
}

impl ApiError {
    /// Returns true if the configuration must be corrected.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        matches!(self, Self::Proxy(_))
    }

    fn set_up(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::SetUp(error.into())
    }
}

/// The client of the API. It interprets responses and never decides what to do about them.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) licensing: Arc<Licensing>,
    user_batch: Url,
    tenant_batch: Url,
    user_single: Url,
    tenant_single: Url,
    management_key: Secret,
    buffers: Arc<BufferPool>,
}

impl Client {
    /// Returns a client with the credentials, timeouts and base URL of the settings. `meter` counts its
    /// requests.
    ///
    /// # Errors
    /// If the TLS roots of this machine cannot be loaded, a setting is not a valid header value, or the
    /// environment names an unusable proxy.
    pub fn new(settings: &ApiSettings, meter: Meter) -> Result<Self, ApiError> {
        // Only one provider is compiled in; an error here means that it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bearer = Secret::new(format!(
            "Bearer {}:{}",
            settings.project_id,
            settings.management_key.reveal()
        ));
        let mut authorization = HeaderValue::from_str(bearer.reveal()).map_err(ApiError::set_up)?;
        authorization.set_sensitive(true);
        let project = HeaderValue::from_str(&settings.project_id).map_err(ApiError::set_up)?;
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (HeaderName::from_static("x-descope-project-id"), project),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let route = Route::of(settings)?;
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("tokenferry/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(settings.connect_timeout)
            // A redirect would carry tokens to an address that nobody configured.
            .redirect(redirect::Policy::none())
            // By default reqwest repeats an HTTP/2 request after a reset stream (REFUSED_STREAM) or a
            // connection that goes away (GOAWAY), assuming that it was not processed. Not every server and
            // proxy guarantees that. Such a repeat uses no quota, is not counted, and no token is read back
            // before it. (The body of an upload cannot be cloned at the moment, which also keeps reqwest from
            // it; that is not guaranteed.)
            //
            // One repeat remains, which cannot be switched off and is harmless: if a pooled connection turns
            // out to be closed, hyper-util takes another one. hyper returns the request for that only if the
            // task of the connection has never taken it out of its queue (hyper 1.12: `TrySendError::message`
            // is `Some` in `client/dispatch.rs` and in `proto/h1/dispatch.rs` for queued requests;
            // `proto/h2/client.rs` returns none), so not a byte of it has left. A later error, also on a used
            // connection, reaches this client.
            .retry(retry::never());
        let http = route.configure(http).build().map_err(ApiError::set_up)?;
        let transport = Transport {
            http,
            meter,
            route,
            base: settings.base_url.clone(),
        };
        Ok(Self {
            user_batch: transport.url(USER_BATCH),
            tenant_batch: transport.url(TENANT_BATCH),
            user_single: transport.url(USER_SINGLE),
            tenant_single: transport.url(TENANT_SINGLE),
            licensing: Arc::new(Licensing::new(transport)),
            management_key: settings.management_key.clone(),
            buffers: Arc::default(),
        })
    }

    /// Makes request bodies use the buffer pool of the run.
    #[must_use]
    pub fn with_buffers(mut self, buffers: &Arc<BufferPool>) -> Self {
        self.buffers = Arc::clone(buffers);
        self
    }

    /// Returns the request body for a batch.
    #[must_use]
    pub fn body(&self, batch: &Batch) -> RequestBody {
        RequestBody::new(batch, &self.buffers)
    }

    /// Returns the management key, to redact it from texts.
    #[must_use]
    pub fn management_key(&self) -> &Secret {
        &self.management_key
    }

    /// Sends the body of one batch once, and only before its deadline.
    pub async fn upload(
        &self,
        subject: Subject,
        call: Call,
        body: &RequestBody,
        deadline: SendDeadline,
    ) -> UploadOutcome {
        let url = match (call, subject) {
            (Call::Batch, Subject::User) => &self.user_batch,
            (Call::Batch, Subject::Tenant) => &self.tenant_batch,
            (Call::Single, Subject::User) => &self.user_single,
            (Call::Single, Subject::Tenant) => &self.tenant_single,
        };
        let body = reqwest::Body::wrap(DeadlineBody::new(body.bytes(), deadline));
        let request = self.http().post(url.clone()).body(body);
        match self.licensing.send(Purpose::Upload, request).await {
            Ok(reply) => response::interpret(
                call,
                subject,
                reply.status,
                reply.retry_after,
                reply.body.as_deref(),
            ),
            Err(NoReply::NotProcessed(refusal)) => UploadOutcome::TryAgain(refusal),
            Err(NoReply::Lost(refusal)) => UploadOutcome::Unknown {
                under_way: true,
                retry_after: None,
                refusal,
                impasse: None,
            },
        }
    }

    /// Returns the proxy as `host:port`, if requests go through one.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.licensing.transport.route.proxy()
    }

    /// Fetches the licence. All later requests name its tier.
    pub async fn license(&self) -> LookupOutcome<License> {
        self.licensing.license().await
    }

    /// Fetches the licence before the first request of this process. If that fails, requests name no tier.
    pub async fn handshake(&self) {
        self.licensing.handshake().await;
    }

    /// Fetches the licence again after a 429, at most once a minute, because the plan may have changed.
    pub async fn license_may_have_changed(&self) {
        self.licensing.may_have_changed().await;
    }

    /// Sets the payment for licence requests that the client sends on its own. Only the first call has an
    /// effect.
    pub fn pay_licenses_with(&self, pay: PayForLicense) {
        self.licensing.pay_with(pay);
    }

    /// Sends a request other than an upload, once.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        request: RequestBuilder,
    ) -> LookupOutcome<T> {
        self.ask_or(purpose, request, |_| LookupOutcome::Absent).await
    }

    /// Sends such a request. If the API responds "not found", `absent` decides from the error code what that
    /// means.
    pub(super) async fn ask_or<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        request: RequestBuilder,
        absent: impl FnOnce(&str) -> LookupOutcome<T>,
    ) -> LookupOutcome<T> {
        lookup_response::outcome(self.licensing.send(purpose, request).await, absent)
    }

    /// Returns the URL of a path.
    pub(super) fn url(&self, path: &str) -> Url {
        self.licensing.transport.url(path)
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.licensing.transport.http
    }
}
