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

/// The client cannot be made from its settings.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The TLS roots of this machine cannot be loaded, or the settings do not make headers.
    #[error("the HTTP client cannot be set up")]
    SetUp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] UnusableProxy),
}

impl ApiError {
    /// Whether something that was configured is to be corrected.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        matches!(self, Self::Proxy(_))
    }

    fn set_up(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::SetUp(error.into())
    }
}

/// Talks to the API. Says what an answer means, and never decides what to do about it.
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
            // A redirect would carry tokens to an address nobody configured.
            .redirect(redirect::Policy::none())
            // By default reqwest sends a request again over HTTP/2 that was answered with a reset stream (REFUSED_STREAM) or a
            // connection that is going away (GOAWAY), and takes it that such a request was not processed. Not every server
            // and proxy keeps to that, and such a resend pays no quota, is not counted, and is not asked about before. (An
            // upload's body cannot be cloned at the moment, which keeps reqwest from it as well; that is no promise.)
            //
            // One resend is left, which cannot be switched off and loses nothing: where a connection of the pool turns out
            // to be closed, hyper-util takes another one. hyper hands it the request back for that only if the connection's
            // task has never taken it out of its queue (hyper 1.12: `TrySendError::message` is `Some` in
            // `client/dispatch.rs` and in `proto/h1/dispatch.rs` for what is still queued; `proto/h2/client.rs` gives none
            // back), so that not a byte of it has left. An error after that point, on a used connection too, reaches us.
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

    /// Takes the memory of request bodies from the run's pool.
    #[must_use]
    pub fn with_buffers(mut self, buffers: &Arc<BufferPool>) -> Self {
        self.buffers = Arc::clone(buffers);
        self
    }

    /// The body that carries a batch.
    #[must_use]
    pub fn body(&self, batch: &Batch) -> RequestBody {
        RequestBody::new(batch, &self.buffers)
    }

    /// The key, for taking it out of texts.
    #[must_use]
    pub fn management_key(&self) -> &Secret {
        &self.management_key
    }

    /// Sends the body of one batch, once, and only as long as it may depart.
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

    /// The proxy that requests go through, if there is one, as `host:port`.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.licensing.transport.route.proxy()
    }

    /// The licence, asked for now. All later calls name its tier.
    pub async fn license(&self) -> LookupOutcome<License> {
        self.licensing.license().await
    }

    /// Asks for the licence before the first call of this process. Without an answer the calls go without its tier.
    pub async fn handshake(&self) {
        self.licensing.handshake().await;
    }

    /// Asks for the licence again after a 429, at most once a minute, as the plan may have changed.
    pub async fn license_may_have_changed(&self) {
        self.licensing.may_have_changed().await;
    }

    /// From here on, questions about the licence that leave by themselves pay like this. The first call counts.
    pub fn pay_licenses_with(&self, pay: PayForLicense) {
        self.licensing.pay_with(pay);
    }

    /// Sends anything but an upload, once.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        request: RequestBuilder,
    ) -> LookupOutcome<T> {
        self.ask_or(purpose, request, |_| LookupOutcome::Absent).await
    }

    /// The same, where `absent` decides by the error code what it means that something is not there.
    pub(super) async fn ask_or<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        request: RequestBuilder,
        absent: impl FnOnce(&str) -> LookupOutcome<T>,
    ) -> LookupOutcome<T> {
        lookup_response::outcome(self.licensing.send(purpose, request).await, absent)
    }

    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> Url {
        self.licensing.transport.url(path)
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.licensing.transport.http
    }
}
