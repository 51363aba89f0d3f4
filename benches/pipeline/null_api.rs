//! An API that reads each request to its end and takes it all: as little work as an HTTP server can do.

use std::{net::Ipv4Addr, process::Stdio, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, Command},
    time::sleep,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"failures\":[]}";

/// In a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct NullApi {
    base_url: String,
    _process: Child,
    /// Its end is the end of the process, however the bench ends.
    _leash: Option<ChildStdin>,
}

impl NullApi {
    /// Starts one that responds so many milliseconds after it has read a request.
    pub(crate) async fn start(delay_ms: u64) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["null-api", &delay_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("the null API has no output")?;
        let base_url = BufReader::new(stdout)
            .lines()
            .next_line()
            .await?
            .context("the null API did not start")?;
        Ok(Self {
            base_url,
            _leash: process.stdin.take(),
            _process: process,
        })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }
}

/// The process itself: prints its base URL, and serves until its input ends.
pub(crate) fn serve(delay_ms: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("http://{}", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is no concern of ours.
                tokio::spawn(async move { drop(answer(stream, Duration::from_millis(delay_ms)).await) });
            }
        });
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
        Ok(())
    })
}

/// Answers one connection's requests, one after the other.
async fn answer(mut stream: TcpStream, delay: Duration) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    let mut held = 0;
    loop {
        let (body_at, length) = loop {
            if let Some(end) = buffer[..held].windows(4).position(|window| window == b"\r\n\r\n") {
                break (end + 4, content_length(&buffer[..end])?);
            }
            let read = stream.read(&mut buffer[held..]).await?;
            if read == 0 {
                return Ok(());
            }
            held += read;
        };
        // Nothing follows a body before its answer, so all that is held belongs to it.
        let mut missing = length.saturating_sub(held - body_at);
        while missing > 0 {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            missing = missing.saturating_sub(read);
        }
        held = 0;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        stream.write_all(ANSWER).await?;
    }
}

/// Zero for a request without a body.
fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    for header in std::str::from_utf8(head)?.lines() {
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    Ok(0)
}
