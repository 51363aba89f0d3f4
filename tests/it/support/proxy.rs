//! A proxy between the program and a database. It can fall silent, as a network that drops all packets.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use url::Url;

/// Forwards connections to a server, as long as it is let.
pub(crate) struct Proxy {
    url: String,
    traffic: watch::Sender<Traffic>,
    accepting: JoinHandle<()>,
}

/// The treatment of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// All of them work.
    Flows,
    /// They are accepted, and nothing passes.
    Stands,
    /// Those that were made before this many others carry nothing any more. Later ones work.
    StandsBefore(u64),
}

impl Traffic {
    fn passes(self, connection: u64) -> bool {
        match self {
            Self::Flows => true,
            Self::Stands => false,
            Self::StandsBefore(first) => connection >= first,
        }
    }
}

impl Proxy {
    /// In front of the server that a URL names.
    pub(crate) async fn before(database: &str) -> Self {
        let options: PgConnectOptions = database.parse().unwrap();
        let socket = options
            .get_socket()
            .map(|folder| folder.join(format!(".s.PGSQL.{}", options.get_port())));
        let address = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = Url::parse(database).unwrap();
        url.set_query(None);
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        if url.username().is_empty() {
            url.set_username(options.get_username()).unwrap();
        }
        let (traffic, _) = watch::channel(Traffic::Flows);
        let accepting = tokio::spawn(accept(listener, socket, address, traffic.clone()));
        Self {
            url: url.into(),
            traffic,
            accepting,
        }
    }

    /// The same database behind this.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on nothing passes, in no direction, and no connection ends.
    pub(crate) fn fall_silent(&self) {
        self.traffic.send_replace(Traffic::Stands);
    }

    /// The connections there are carry nothing any more; new ones work.
    pub(crate) fn forget_connections(&self) {
        self.traffic
            .send_replace(Traffic::StandsBefore(CONNECTIONS.load(Ordering::Relaxed)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    socket: Option<PathBuf>,
    address: (String, u16),
    traffic: watch::Sender<Traffic>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (socket, address, traffic) = (socket.clone(), address.clone(), traffic.subscribe());
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let gate = Barrier { traffic, number };
            // Not before it may be reached.
            gate.clone().opened().await;
            match socket {
                Some(path) => {
                    if let Ok(server) = UnixStream::connect(path).await {
                        forward(client, server, gate).await;
                    }
                }
                None => {
                    if let Ok(server) = TcpStream::connect(address).await {
                        forward(client, server, gate).await;
                    }
                }
            }
        });
    }
}

/// Of all proxies: what counts is which came first.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Clone)]
struct Barrier {
    traffic: watch::Receiver<Traffic>,
    number: u64,
}

impl Barrier {
    async fn opened(&mut self) {
        let number = self.number;
        // Without the proxy nothing is held back any more.
        let _ = self.traffic.wait_for(|traffic| traffic.passes(number)).await;
    }
}

async fn forward(client: TcpStream, server: impl AsyncRead + AsyncWrite + Send + 'static, gate: Barrier) {
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    tokio::join!(
        copy(from_client, to_server, gate.clone()),
        copy(from_server, to_client, gate)
    );
}

/// Even the end of a connection does not pass while traffic stands: the other side of a network that drops
/// everything does not hear of it either.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut gate: Barrier) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        gate.opened().await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
