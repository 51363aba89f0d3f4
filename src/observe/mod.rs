//! The seat of whoever watches a run from elsewhere: its figures for Prometheus, its health, and a page that shows it and
//! steers it.
//!
//! Nothing here is in the way of the run: figures are read when somebody asks, the page is painted only while somebody looks,
//! and whatever fails here is a word in the log.

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

/// What is wanted of it.
#[derive(Debug, Default)]
pub struct MonitoringOptions {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// True if somebody asked for the address, or for the page, for this run. Else another run may listen there, and this one
    /// does without.
    pub insists: bool,
    /// Names under which it may be asked, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The page.
    pub live: Option<LiveOptions>,
    /// Where to push the figures at the end.
    pub push: Option<Pushgateway>,
}

/// What the page needs.
#[derive(Debug)]
pub struct LiveOptions {
    /// What it takes to see and steer.
    pub token: Secret,
    /// Where its picture is read.
    pub ledger: LedgerAccess,
}

/// It cannot begin.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (`metrics.listen` or --metrics-listen): {}", why(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The figures contradict each other.
    #[error("the metrics cannot be set up. This is a bug: please report it")]
    Figures(#[from] prometheus::Error),
}

/// The address is what people get wrong.
fn why(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another process listens there",
        io::ErrorKind::AddrNotAvailable => "it is no address of this machine",
        io::ErrorKind::PermissionDenied => "this user may not listen there",
        _ => "the system refuses it",
    }
}

/// Open for as long as a run works.
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

/// How long open pages may take to hear that the run has ended.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

impl MonitoringServer {
    /// Listens, if that is wanted. The page asks for an address, too: whoever orders it gives one.
    ///
    /// # Errors
    /// If the address is taken, or is not this machine's.
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
                info!(%address, "listening for whoever asks for /metrics, /healthz and /readyz");
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
                warn!(%address, "another process listens there: this one goes without /metrics, /healthz and /readyz");
                Ok(None)
            }
            Err(source) => Err(WatchError::Listen { address, source }),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.address)
    }

    /// Every figure, as `/metrics` shows it.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn text(&self) -> prometheus::Result<String> {
        let view = self.view.borrow().clone();
        self.figures.text(&view)
    }

    /// Pushes the last figures, if a run was begun, and lets open pages know how it ended. Nothing here fails a run.
    pub async fn close(self) {
        let has_begun = self.view.borrow().run_id.is_some();
        if let Some(push) = self.push.as_ref().filter(|_| has_begun) {
            match self.text() {
                Ok(text) => push.push(text).await,
                Err(error) => warn!(reason = %error, "the metrics were not pushed"),
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
