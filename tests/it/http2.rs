//! HTTP/2: what its protocol calls safe to send again is not sent again behind our back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Response;
use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::support::{
    bed::Bed,
    http,
    tls::{Authority, Validity, accepting},
};

/// How a stored batch is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The stream is reset: "not processed".
    RefusedStream,
    /// The connection is given up: "nothing after the last stream was processed".
    GoAway,
}

/// Hands one request on over HTTP/1, whole, and gives the answer.
async fn forward(api: &str, request: axum::http::Request<h2::RecvStream>) -> (Response<()>, Bytes) {
    let (parts, mut body) = request.into_parts();
    let mut whole = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        whole.extend_from_slice(&chunk);
    }
    let path = parts.uri.path_and_query().unwrap();
    let answer = http::client()
        .request(parts.method, format!("{api}{path}"))
        .headers(parts.headers)
        .body(whole)
        .send()
        .await
        .unwrap();
    let response = Response::builder().status(answer.status()).body(()).unwrap();
    (response, answer.bytes().await.unwrap())
}

fn answer(mut respond: SendResponse<Bytes>, (response, body): (Response<()>, Bytes)) {
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(body, true).unwrap();
}

/// How many requests of each kind are still answered oddly, on whatever connection.
#[derive(Debug, Default)]
struct Odd {
    uploads: AtomicUsize,
    reads: AtomicUsize,
}

impl Odd {
    /// Whether the answer to a request of this path is to be odd.
    fn takes(&self, path: &str) -> bool {
        let left = if path.ends_with("/upload") {
            &self.uploads
        } else if path.ends_with("/token/latest") {
            &self.reads
        } else {
            return false;
        };
        let one_less = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        one_less.is_ok()
    }
}

/// Serves one connection; what is answered oddly is carried out all the same.
async fn serve(stream: TlsStream<TcpStream>, api: String, kind: Answer, odd: Arc<Odd>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let answered = tokio::select! {
            answered = forward(&api, request) => answered,
            // Never: but the connection has to be driven while the body arrives.
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        };
        // One request at a time.
        if !odd.takes(&path) {
            answer(respond, answered);
            continue;
        }
        match kind {
            Answer::RefusedStream => respond.send_reset(Reason::REFUSED_STREAM),
            Answer::GoAway => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                let _ = std::future::poll_fn(|context| connection.poll_closed(context)).await;
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_was_stored_and_answered_with_a_reset_is_not_sent_again_without_asking() {
    for kind in [Answer::RefusedStream, Answer::GoAway] {
        let bed = Bed::new()
            .await
            .set("batch.concurrency = 1\nbatch.max_tokens = 10");
        bed.user_rows(1, 30).await;
        let authority = Authority::new();
        // An upload's body is a stream, which nobody can send again unasked. That of a question could be.
        let odd = Arc::new(Odd {
            uploads: AtomicUsize::new(2),
            reads: AtomicUsize::new(3),
        });
        let (api, left) = (bed.api.base_url().to_owned(), Arc::clone(&odd));
        let acceptor = authority.server("localhost", Validity::Good, &["h2"]);
        let port = accepting(acceptor, move |stream| {
            serve(stream, api.clone(), kind, Arc::clone(&left))
        })
        .await;
        let mut command = bed.command(&["migrate", "--json", "-vv"]);
        command
            .env("TOKENFERRY__API__BASE_URL", format!("https://localhost:{port}"))
            .env("SSL_CERT_FILE", authority.file(bed.config().parent().unwrap()));
        let ran = crate::support::bed::ended(command.output()).await.ended_with(0);
        assert!(!odd.takes("/upload") && !odd.takes("/token/latest"), "{kind:?}");
        let ran = ran.json();
        assert_eq!(ran["tokens"]["committed"], 30, "{kind:?}");
        let requests = bed.api.requests();
        let (uploads, reads) = (requests.to("/batch/upload"), requests.to("/token/latest"));
        // Two answers were lost, and three of the questions about them.
        assert_eq!((uploads, reads), (3, 5), "{kind:?}");
        assert_eq!(
            ran["requests"],
            uploads + reads,
            "every request is one of ours: {kind:?}"
        );
        bed.assert_arrived_once().await;
    }
}
