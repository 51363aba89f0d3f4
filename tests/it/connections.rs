//! Connections that are never made: each names where, why and what to do, and none goes through a proxy that
//! it should not.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    bed::{Bed, Ran, ended},
    tls::{Authority, Validity, accepting, in_front_of},
};

/// What a proxy does with a CONNECT.
#[derive(Debug, Clone, Copy)]
enum Proxy {
    /// Connects to this port of this machine, whatever it was asked for.
    To(u16),
    /// Answers with this status.
    Answers(&'static str),
    /// Never answers.
    Silent,
}

/// A proxy that remembers the first lines of what it was asked for.
struct Asked {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

async fn proxy(kind: Proxy) -> Asked {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (lines, connections) = (
        Arc::<Mutex<Vec<String>>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let (heard, counted) = (Arc::clone(&lines), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut first = String::new();
                stream.read_line(&mut first).await.unwrap();
                heard.lock().unwrap().push(first.trim().to_owned());
                let mut line = String::new();
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    line.clear();
                }
                match kind {
                    Proxy::Answers(status) => {
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    Proxy::Silent => std::future::pending().await,
                    Proxy::To(port) => {
                        let mut behind = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                        let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
                        stream.write_all(established).await.unwrap();
                        let _ = copy_bidirectional(&mut stream, &mut behind).await;
                    }
                }
            });
        }
    });
    Asked {
        port,
        lines,
        connections,
    }
}

const PASSWORD: &str = "pr0xy-passw0rd";

/// A command in an environment without proxies but for these.
async fn run(bed: &Bed, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = bed.command(arguments);
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
    ] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let ran = ended(command.envs(variables.iter().copied()).output()).await;
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    ran
}

/// What `doctor` says of the connection, and why a run stops.
async fn told(bed: &Bed, variables: &[(&str, &str)]) -> [String; 2] {
    let doctor = run(bed, &["doctor", "--json"], variables)
        .await
        .ended_with(4)
        .json();
    let checks = doctor["checks"].as_array().unwrap();
    let connection = checks
        .iter()
        .find(|check| check["area"] == "api" && check["name"] == "connection")
        .unwrap();
    let migrate = run(bed, &["migrate", "--json"], variables)
        .await
        .ended_with(4)
        .json();
    assert_eq!(migrate["tokens"]["committed"], 0);
    [&connection["detail"], &migrate["stop_reason"]].map(|text| text.as_str().unwrap().to_owned())
}

/// Does not try often.
async fn bed() -> Bed {
    let bed = Bed::new()
        .await
        .set("api.retry.max_attempts = 2\nstop.after_failed_batches = 1\napi.connect_timeout = \"500ms\"");
    bed.user_rows(1, 10).await;
    bed
}

#[tokio::test]
async fn what_stays_on_this_machine_goes_through_no_proxy() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let proxy = proxy(Proxy::Answers("502 Bad Gateway")).await;
    let url = format!("http://user:{PASSWORD}@127.0.0.1:{}", proxy.port);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        run(&bed, &["doctor"], &[(name, &url)]).await.ended_with(0);
    }
    run(&bed, &["migrate"], &[("HTTP_PROXY", &url), ("ALL_PROXY", &url)])
        .await
        .ended_with(0);
    bed.assert_arrived_once().await;
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 0, "{:?}", proxy.lines);
}

#[tokio::test]
async fn https_goes_through_the_proxy_of_the_environment() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let authority = Authority::new();
    let file = authority.file(bed.config().parent().unwrap());
    let plain = bed.api.base_url().trim_start_matches("http://").to_owned();
    let acceptor = authority.server("api.example.test", Validity::Good, &["http/1.1"]);
    let proxy = proxy(Proxy::To(in_front_of(plain, acceptor).await)).await;
    let url = format!("http://user:{PASSWORD}@127.0.0.1:{}", proxy.port);
    let variables = [
        ("TOKENFERRY__API__BASE_URL", "https://api.example.test"),
        ("SSL_CERT_FILE", file.to_str().unwrap()),
        ("HTTPS_PROXY", url.as_str()),
    ];
    let ran = run(&bed, &["doctor", "--json"], &variables).await.ended_with(0);
    let shown = format!("through the proxy 127.0.0.1:{}", proxy.port);
    assert!(ran.stdout.contains(&shown), "{}", ran.stdout);
    run(&bed, &["migrate"], &variables).await.ended_with(0);
    bed.assert_arrived_once().await;
    let lines = proxy.lines.lock().unwrap().clone();
    assert!(
        lines
            .iter()
            .all(|line| line == "CONNECT api.example.test:443 HTTP/1.1"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_let_us_through_is_named_without_its_password() {
    let bed = bed().await;
    let asks = proxy(Proxy::Answers("407 Proxy Authentication Required"))
        .await
        .port;
    let refuses = proxy(Proxy::Answers("403 Forbidden")).await.port;
    for (port, what) in [
        (asks, "requires a user name and a password (407)"),
        (refuses, "does not connect to api.example.test:443"),
        (1, "connection refused"),
    ] {
        for name in ["HTTPS_PROXY", "ALL_PROXY"] {
            let url = format!("http://user:{PASSWORD}@127.0.0.1:{port}");
            let variables = [
                ("TOKENFERRY__API__BASE_URL", "https://api.example.test"),
                (name, &url),
            ];
            for text in told(&bed, &variables).await {
                assert!(text.contains(&format!("the proxy 127.0.0.1:{port}")), "{text}");
                assert!(text.contains(what) && text.contains("HTTPS_PROXY"), "{text}");
            }
        }
    }
    // An exception is no business of the proxy's.
    let url = format!("http://127.0.0.1:{asks}");
    let variables = [
        ("TOKENFERRY__API__BASE_URL", "https://api.example.invalid"),
        ("HTTPS_PROXY", &url),
        ("NO_PROXY", "localhost, example.invalid"),
    ];
    for text in told(&bed, &variables).await {
        assert!(
            text.contains("api.example.invalid:443 cannot be resolved"),
            "{text}"
        );
    }
}

/// The proxy is there, and what fails is behind it, or it is the proxy's doing: both are named.
#[tokio::test]
async fn what_fails_behind_a_proxy_is_told_with_the_proxy() {
    let bed = bed().await;
    let authority = Authority::new();
    let file = authority.file(bed.config().parent().unwrap());
    let plain = || bed.api.base_url().trim_start_matches("http://").to_owned();
    let tls = async |name, validity| {
        let acceptor = authority.server(name, validity, &["http/1.1"]);
        Proxy::To(in_front_of(plain(), acceptor).await)
    };
    let mute = authority.server("api.example.test", Validity::Good, &["http/1.1"]);
    let mute = accepting(mute, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let no_tls = plain().rsplit(':').next().unwrap().parse().unwrap();
    for (kind, parts) in [
        (
            Proxy::Answers("502 Bad Gateway"),
            ["does not connect to", "HTTPS_PROXY"],
        ),
        (Proxy::Silent, ["within 500ms", "HTTPS_PROXY"]),
        (
            tls("api.example.test", Validity::Expired).await,
            ["has expired", "clock"],
        ),
        (
            tls("elsewhere.test", Validity::Good).await,
            ["another name", "HTTPS_PROXY"],
        ),
        (Proxy::To(no_tls), ["does not speak TLS", "`api.base_url`"]),
        (Proxy::To(mute.await), ["did not respond", "`api.timeout`"]),
    ] {
        let port = proxy(kind).await.port;
        let url = format!("http://user:{PASSWORD}@127.0.0.1:{port}");
        let variables = [
            ("TOKENFERRY__API__BASE_URL", "https://api.example.test"),
            ("TOKENFERRY__API__TIMEOUT", "600ms"),
            ("SSL_CERT_FILE", file.to_str().unwrap()),
            ("HTTPS_PROXY", &url),
        ];
        let [doctor, migrate] = told(&bed, &variables).await;
        let [what, remedy] = parts;
        let texts = match kind {
            // An upload that nobody answered has an unknown outcome, and the run ends for that.
            Proxy::To(_) if what == "did not respond" => vec![doctor],
            _ => vec![doctor, migrate],
        };
        for text in texts {
            for part in [
                what,
                remedy,
                &format!("the proxy 127.0.0.1:{port}"),
                "api.example.test:443",
            ] {
                assert!(text.contains(part), "{kind:?}: {part:?} in {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_not_passed_by() {
    let bed = bed().await;
    for value in [
        format!("socks5://user:{PASSWORD}@127.0.0.1:1080"),
        format!("ftp://user:{PASSWORD}@proxy"),
        format!("http://user:{PASSWORD}@"),
    ] {
        for name in ["HTTPS_PROXY", "ALL_PROXY"] {
            let variables = [
                ("TOKENFERRY__API__BASE_URL", "https://api.example.invalid"),
                (name, value.as_str()),
            ];
            for command in [&["doctor"][..], &["migrate"]] {
                let ran = run(&bed, command, &variables).await.ended_with(2);
                let said = format!("{}{}", ran.stdout, ran.stderr);
                assert!(
                    said.contains(&format!("the environment variable {name}")),
                    "{said}"
                );
            }
        }
    }
}

/// A base URL, what the environment holds, and what is said of it; nothing where it works.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test]
async fn every_cause_is_named_with_its_address_and_a_remedy() {
    let bed = bed().await;
    let authority = Authority::new();
    let file = authority.file(bed.config().parent().unwrap());
    let plain = || bed.api.base_url().trim_start_matches("http://").to_owned();
    let tls = async |name, validity| {
        let acceptor = authority.server(name, validity, &["http/1.1"]);
        in_front_of(plain(), acceptor).await
    };
    let [expired, other, good] = [
        tls("localhost", Validity::Expired).await,
        tls("elsewhere.test", Validity::Good).await,
        tls("localhost", Validity::Good).await,
    ];
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_up = rude.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let mut hello = [0; 16];
            let _ = stream.read(&mut hello).await;
        }
    });
    let simulator = plain();
    let trusted = [("SSL_CERT_FILE", file.to_str().unwrap())];
    let rows: [Row<'_>; 9] = [
        (
            "http://127.0.0.1:1",
            &[],
            &["127.0.0.1:1 ", "refused", "`api.base_url`"],
        ),
        (
            "https://api.example.invalid:8443",
            &[],
            &["api.example.invalid:8443 ", "cannot be resolved", "HTTPS_PROXY"],
        ),
        (
            &format!("https://{address}"),
            &trusted,
            &[&format!("{address} "), "within 500ms", "`api.connect_timeout`"],
        ),
        (
            &format!("https://localhost:{expired}"),
            &trusted,
            &[&format!("localhost:{expired} "), "has expired", "clock"],
        ),
        (
            &format!("https://localhost:{other}"),
            &trusted,
            &[&format!("localhost:{other} "), "another name", "`api.base_url`"],
        ),
        (
            &format!("https://localhost:{good}"),
            &[],
            &[
                &format!("localhost:{good} "),
                "unknown authority",
                "SSL_CERT_FILE",
            ],
        ),
        (
            &format!("https://{simulator}"),
            &trusted,
            &[&format!("{simulator} "), "does not speak TLS", "`api.base_url`"],
        ),
        (
            &format!("https://{hangs_up}"),
            &trusted,
            &[&format!("{hangs_up} "), "no connection to", "`api.base_url`"],
        ),
        // As for the others, but that it works.
        (&format!("https://localhost:{good}"), &trusted, &[]),
    ];
    for (base_url, variables, parts) in rows {
        let mut all = vec![("TOKENFERRY__API__BASE_URL", base_url)];
        all.extend(variables);
        if parts.is_empty() {
            run(&bed, &["migrate"], &all).await.ended_with(0);
            continue;
        }
        for text in told(&bed, &all).await {
            for part in parts {
                assert!(text.contains(part), "{base_url}: {part:?} in {text}");
            }
        }
    }
}
