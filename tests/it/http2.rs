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

/// Serves one connection; the first `odd` uploads of all connections are stored and answered oddly.
async fn serve(stream: TlsStream<TcpStream>, api: String, kind: Answer, odd: Arc<AtomicUsize>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_upload = request.uri().path().ends_with("/upload");
        let answered = tokio::select! {
            answered = forward(&api, request) => answered,
            // Never: but the connection has to be driven while the body arrives.
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        };
        // One upload at a time.
        if !is_upload || odd.load(Ordering::SeqCst) == 0 {
            answer(respond, answered);
            continue;
        }
        odd.fetch_sub(1, Ordering::SeqCst);
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
        let odd = Arc::new(AtomicUsize::new(2));
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
        assert_eq!(odd.load(Ordering::SeqCst), 0, "{kind:?}");
        assert_eq!(ran.json()["tokens"]["committed"], 30, "{kind:?}");
        assert_eq!(
            bed.api.requests().to("/batch/upload"),
            3,
            "every request is one of ours: {kind:?}"
        );
        bed.assert_arrived_once().await;
    }
}
