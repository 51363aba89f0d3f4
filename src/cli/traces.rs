//! Traces: the spans of a run, with the log's events in them, sent to a collector if the standard `OTEL_*`
//! variables name one.

use std::{
    env,
    error::Error,
    fmt::Display,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::{Metadata, Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use crate::{config::is_loopback, metrics::REQUEST_SPAN};

/// The longest wait for a collector: for one request, and at the end of the process for the rest.
const PATIENCE: Duration = Duration::from_secs(3);

/// The exporter, if one is asked for.
#[derive(Debug, Default)]
pub(super) struct Traces {
    provider: Option<SdkTracerProvider>,
    /// One is asked for and cannot be had.
    problem: Option<&'static str>,
}

impl Traces {
    /// Starts the exporter that the environment asks for.
    pub(super) fn start() -> Self {
        let Some(endpoint) = endpoint() else {
            return Self::default();
        };
        let problem = |problem| Self {
            provider: None,
            problem: Some(problem),
        };
        if let Some(protocol) = variable("PROTOCOL")
            && protocol != "http/protobuf"
        {
            return problem("`OTEL_EXPORTER_OTLP_PROTOCOL` must be \"http/protobuf\"");
        }
        let Ok(endpoint) = Url::parse(&endpoint) else {
            return problem("`OTEL_EXPORTER_OTLP_ENDPOINT` must be a URL, such as http://localhost:4318");
        };
        let exporter = SpanSender::new(&endpoint).ok().and_then(|sender| {
            let builder = SpanExporter::builder().with_http().with_http_client(sender);
            builder.build().ok()
        });
        let Some(exporter) = exporter else {
            // The error may quote the value.
            return problem("a variable `OTEL_EXPORTER_OTLP_…` has no usable value");
        };
        let mut resource = Resource::builder();
        if env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Self {
            provider: Some(provider),
            problem: None,
        }
    }

    /// Returns the layer that turns the log's spans and events into traces.
    pub(super) fn layer<S>(&self) -> Option<OpenTelemetryLayer<S, SdkTracer>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.provider.as_ref()?.tracer(env!("CARGO_PKG_NAME"));
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        Some(
            layer
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false),
        )
    }

    /// Warns if there are none though they are asked for. The log must be set up.
    pub(super) fn report_problem(&self) {
        if let Some(reason) = self.problem {
            warn!(reason, "traces cannot be sent, run not affected");
        }
    }

    /// Sends the rest, if the collector takes it within [`PATIENCE`].
    pub(super) async fn close(self) {
        if let Some(provider) = self.provider {
            // It waits for a thread. Its failures were reported by the sender.
            let _ = spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
        }
    }
}

/// Returns false for spans that are only traced: each request would lengthen every line of the log.
pub(super) fn is_logged(metadata: &Metadata<'_>) -> bool {
    !(metadata.is_span() && metadata.name() == REQUEST_SPAN)
}

/// Returns the collector's address, unless the environment turns traces off or has them go elsewhere.
fn endpoint() -> Option<String> {
    let is_off = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    let is_elsewhere = env::var("OTEL_TRACES_EXPORTER").is_ok_and(|name| !name.is_empty() && name != "otlp");
    if is_off || is_elsewhere {
        return None;
    }
    variable("ENDPOINT")
}

/// Returns the variable about traces, or the general one.
fn variable(name: &str) -> Option<String> {
    let found = ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
        .into_iter()
        .filter_map(|prefix| env::var(format!("{prefix}{name}")).ok());
    found
        .map(|value| value.trim().to_owned())
        .find(|value| !value.is_empty())
}

/// Sends spans from the exporter's own thread, which has no runtime.
#[derive(Debug)]
struct SpanSender {
    http: reqwest::Client,
    runtime: Handle,
    has_failed: Arc<AtomicBool>,
}

impl SpanSender {
    fn new(endpoint: &Url) -> reqwest::Result<Self> {
        // Fails only if the provider is already installed; only this one is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            // A redirect would carry the headers, which may have a key, to another address.
            .redirect(reqwest::redirect::Policy::none());
        let http = if is_loopback(endpoint) {
            http.no_proxy()
        } else {
            http
        };
        Ok(Self {
            http: http.build()?,
            runtime: Handle::current(),
            has_failed: Arc::default(),
        })
    }
}

impl HttpClient for SpanSender {
    fn send_bytes<'sender, 'sent>(
        &'sender self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'sender: 'sent,
        Self: 'sent,
    {
        let (http, has_failed) = (self.http.clone(), Arc::clone(&self.has_failed));
        let sending = self.runtime.spawn(async move {
            let sent = async { http.execute(request.try_into()?).await };
            match sent.await {
                Ok(response) => {
                    let status = response.status();
                    if !status.is_success() {
                        report_once(&has_failed, &status);
                    }
                    // The body says nothing that is of use here.
                    Response::builder()
                        .status(status)
                        .body(Bytes::new())
                        .map_err(HttpError::from)
                }
                Err(error) => {
                    // The URL may have a password in it.
                    let error = error.without_url();
                    report_once(&has_failed, &cause(&error));
                    Err(error.into())
                }
            }
        });
        Box::pin(async move { sending.await? })
    }
}

/// Returns the innermost cause: the outer ones say only that something was sent.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no response in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Reports the first failure only: a collector may be away for the whole run.
fn report_once(has_failed: &AtomicBool, reason: &dyn Display) {
    if !has_failed.swap(true, Ordering::Relaxed) {
        warn!(
            %reason,
            "traces could not be sent, run not affected; further failures are not reported"
        );
    }
}
