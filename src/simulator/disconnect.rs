//! A listener whose connections can be closed without an HTTP answer, as a network or a proxy does.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::connect_info::Connected,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Marks a response that must not reach the client: the connection is cut in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disconnect;

/// A response that carries the mark.
pub(super) fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Disconnect);
    response
}

/// One client's connection, as a request on it sees it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    is_cut: Arc<AtomicBool>,
}

impl Connection {
    /// From here on the stream fails. The server drops it when it tries to write its answer.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, DisconnectListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, DisconnectListener>) -> Self {
        Self {
            is_cut: Arc::clone(&stream.io().is_cut),
        }
    }
}

#[derive(Debug)]
pub(super) struct DisconnectListener(pub(super) TcpListener);

impl Listener for DisconnectListener {
    type Io = DisconnectStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DisconnectStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers of this connection may be delayed");
        }
        (
            DisconnectStream {
                stream,
                is_cut: Arc::default(),
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[derive(Debug)]
pub(super) struct DisconnectStream {
    stream: TcpStream,
    is_cut: Arc<AtomicBool>,
}

impl DisconnectStream {
    fn intact(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.is_cut.load(Ordering::Acquire) {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(Pin::new(&mut self.stream))
        }
    }
}

impl AsyncRead for DisconnectStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.intact()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for DisconnectStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.intact()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?.poll_shutdown(context)
    }
}
