//! The HTTP server for monitoring, limited so that clients cannot exhaust the run's file descriptors.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

/// The most connections at once. Others wait in the system's queue, without a descriptor of this process.
const MOST_CONNECTIONS: u64 = 64;

/// Monitoring may use one of this many descriptors; the others are for the run.
const SHARE: u64 = 8;

/// The longest wait for a request's head, and for an idle connection.
const HEAD_MAY_TAKE: Duration = Duration::from_secs(10);

/// The delay after a failed accept.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Serves until `closing`, then finishes responses in progress.
pub(super) async fn serve(listener: TcpListener, router: Router, closing: CancellationToken) {
    let room = Arc::new(Semaphore::new(most_connections()));
    let connections = TaskTracker::new();
    let taking = async {
        while let Ok(place) = Arc::clone(&room).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone(), closing.clone(), place));
                }
                Err(error) => {
                    debug!(reason = %error, "connection could not be accepted");
                    sleep(AFTER_TROUBLE).await;
                }
            }
        }
    };
    closing.run_until_cancelled(taking).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn converse(
    stream: TcpStream,
    router: Router,
    closing: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAY_TAKE);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // Connection errors are the client's problem.
    if closing.run_until_cancelled(connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

fn most_connections() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from((limit / SHARE).clamp(1, MOST_CONNECTIONS)).unwrap_or(1)
}
