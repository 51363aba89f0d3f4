//! Monitoring of a run from outside: Prometheus metrics, health checks, and the live page.
//!
//! Nothing here delays the run: metrics are read when they are scraped, the page is rendered only while it is
//! open, and failures are only logged.

mod auth;
mod figures;
mod live;
pub mod notify;
mod push;
mod routes;
mod serve;
mod snapshot;
mod template;

use std::{io, net::SocketAddr, time::Duration};

use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use push::Pushgateway;

use crate::{config::LedgerAccess, rate::RunControl, report::View, secret::Secret};
use auth::{Auth, Hosts};
use figures::Figures;
use live::Live;
use routes::AppState;
use serve::serve;

/// The requested monitoring.
#[derive(Debug, Default)]
pub struct MonitoringOptions {
    /// The address to listen on.
    pub listen: Option<SocketAddr>,
    /// True if the address or the page was requested for this run. Otherwise, if the address is in use by
    /// another run, this run continues without the endpoint.
    pub insists: bool,
    /// Host names that clients may use, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The live page.
    pub live: Option<LiveOptions>,
    /// The gateway that receives the metrics at the end.
    pub push: Option<Pushgateway>,
}

/// The settings of the live page.
#[derive(Debug)]
pub struct LiveOptions {
    /// The token that the page asks for.
    pub token: Secret,
    /// Access to the ledger, for the snapshots.
    pub ledger: LedgerAccess,
}

/// The errors that prevent monitoring.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (`metrics.listen` or --metrics-listen): {}", why(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The metrics are inconsistent.
    #[error("the metrics cannot be set up. This is a bug: please report it")]
    Figures(#[from] prometheus::Error),
}

/// Explains the error.
fn why(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process",
        io::ErrorKind::AddrNotAvailable => "it is not an address of this machine",
        io::ErrorKind::PermissionDenied => "this user may not listen there",
        _ => "the system refuses it",
    }
}

/// The monitoring of a run, open while the run works.
#[derive(Debug)]
pub struct MonitoringServer {
    figures: Figures,
    view: watch::Receiver<View>,
    push: Option<Pushgateway>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

/// The longest wait for open pages to receive the end of the run.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

impl MonitoringServer {
    /// Listens if requested. The live page needs an address, which the caller provides.
    ///
    /// # Errors
    /// Fails if the address is in use or does not belong to this machine.
    pub async fn open(
        options: MonitoringOptions,
        control: &RunControl,
        view: watch::Receiver<View>,
    ) -> Result<Self, WatchError> {
        let figures = Figures::new(control.clone())?;
        let open = match Self::bind(&options).await? {
            None => None,
            Some((listener, address)) => {
                let failed = |source| WatchError::Listen { address, source };
                let address = listener.local_addr().map_err(failed)?;
                let closing = CancellationToken::new();
                let hosts = Hosts::new(options.hosts);
                let live = options.live.map(|live| {
                    let guard = Auth::new(live.token, hosts.clone());
                    Live::begin(guard, live.ledger, control.clone(), view.clone(), closing.clone())
                });
                let state = AppState::new(figures.clone(), control.stop.clone(), view.clone(), hosts, live);
                let serving = tokio::spawn(serve(listener, state.router(), closing.clone()));
                info!(%address, "serving /metrics, /healthz and /readyz");
                Some(Open {
                    address,
                    closing,
                    serving,
                })
            }
        };
        Ok(Self {
            figures,
            view,
            push: options.push,
            open,
        })
    }

    async fn bind(options: &MonitoringOptions) -> Result<Option<(TcpListener, SocketAddr)>, WatchError> {
        let Some(address) = options.listen else {
            return Ok(None);
        };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some((listener, address))),
            Err(source) if !options.insists && source.kind() == io::ErrorKind::AddrInUse => {
                warn!(%address, "address in use by another process, continuing without /metrics, /healthz and /readyz");
                Ok(None)
            }
            Err(source) => Err(WatchError::Listen { address, source }),
        }
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.address)
    }

    /// Returns all metrics, as `/metrics` shows them.
    ///
    /// # Errors
    /// Fails if they are inconsistent.
    pub fn text(&self) -> prometheus::Result<String> {
        let view = self.view.borrow().clone();
        self.figures.text(&view)
    }

    /// Pushes the final metrics if a run was started, and sends the end to open pages. Failures are only
    /// logged.
    pub async fn close(self) {
        let has_begun = self.view.borrow().run_id.is_some();
        if let Some(push) = self.push.as_ref().filter(|_| has_begun) {
            match self.text() {
                Ok(text) => push.push(text).await,
                Err(error) => warn!(reason = %error, "metrics push failed"),
            }
        }
        if let Some(open) = self.open {
            open.closing.cancel();
            let abort = open.serving.abort_handle();
            if timeout(SHUTDOWN_GRACE, open.serving).await.is_err() {
                abort.abort();
            }
        }
    }
}
