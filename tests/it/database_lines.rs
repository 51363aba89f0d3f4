//! The lines to source and ledger: protected unless somebody wrote that they need not be, and each trouble
//! named with its remedy.
//!
//! `0.0.0.0` is how this machine is reached as if it were another one.

mod certificates;

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    bed::{Bed, Ran, ended},
    tls::{Authority, Validity},
};

/// In front of the bed's database, with TLS or without. The URL, up to its parameters.
async fn in_front_of(bed: &Bed, acceptor: Option<TlsAcceptor>) -> String {
    let options: PgConnectOptions = bed.database.url().parse().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let login = match bed.database.url().split_once("://").unwrap().1.split_once('@') {
        Some((login, _)) => login.to_owned(),
        None => options.get_username().to_owned(),
    };
    let url = format!(
        "postgres://{login}@0.0.0.0:{port}/{}",
        options.get_database().unwrap()
    );
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (options, acceptor) = (options.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut first = [0; 8];
                client.read_exact(&mut first).await?;
                let asks_for_tls = first == [0, 0, 0, 8, 4, 210, 22, 47];
                match acceptor {
                    Some(acceptor) if asks_for_tls => {
                        client.write_all(b"S").await?;
                        let mut client = acceptor.accept(client).await?;
                        forward(&mut client, &[], &options).await
                    }
                    _ if asks_for_tls => {
                        client.write_all(b"N").await?;
                        forward(&mut client, &[], &options).await
                    }
                    _ => forward(&mut client, &first, &options).await,
                }
            });
        }
    });
    url
}

async fn forward<S>(client: &mut S, first: &[u8], options: &PgConnectOptions) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let port = options.get_port();
    match options.get_socket() {
        Some(folder) => {
            let mut server = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            server.write_all(first).await?;
            copy_bidirectional(client, &mut server).await?;
        }
        None => {
            let mut server = TcpStream::connect((options.get_host(), port)).await?;
            server.write_all(first).await?;
            copy_bidirectional(client, &mut server).await?;
        }
    }
    Ok(())
}

async fn with_url(bed: &Bed, arguments: &[&str], url: &str) -> Ran {
    let mut command = bed.command(arguments);
    command
        .env("SOURCE_DATABASE_URL", url)
        .env("TOKENFERRY__LEDGER__URL", bed.database.url())
        .env("HOME", "/nonexistent");
    ended(command.output()).await
}

#[tokio::test]
async fn beyond_this_machine_plain_text_must_be_written_and_is_warned_of() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let url = in_front_of(&bed, None).await;
    for parameters in ["", "?sslmode=prefer"] {
        let ran = with_url(&bed, &["migrate"], &format!("{url}{parameters}"))
            .await
            .ended_with(6);
        for said in ["offers no TLS", "0.0.0.0:", "sslmode=disable", "earlier versions"] {
            assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        }
    }
    let written = format!("{url}?sslmode=disable");
    for arguments in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let ran = with_url(&bed, arguments, &written).await.ended_with(0);
        assert!(ran.stderr.contains("connected without TLS"), "{}", ran.stderr);
    }
    let ran = with_url(&bed, &["doctor", "--json"], &written)
        .await
        .ended_with(0);
    assert!(
        ran.stdout.contains("because of `sslmode=disable`"),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn a_certificate_is_held_against_the_authority_that_is_named() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let known = authority.file(folder.path()).display().to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    let unknown = other.file(elsewhere.path()).display().to_string();

    let good = in_front_of(&bed, Some(authority.server("0.0.0.0", Validity::Good, &[]))).await;
    let expired = in_front_of(&bed, Some(authority.server("0.0.0.0", Validity::Expired, &[]))).await;
    let misnamed = in_front_of(&bed, Some(authority.server("db.internal", Validity::Good, &[]))).await;
    for (url, parameters, said) in [
        (&good, format!("sslmode=require&sslrootcert={known}"), None),
        (&good, format!("sslmode=verify-full&sslrootcert={known}"), None),
        (&good, "sslmode=require".to_owned(), None),
        (&misnamed, format!("sslmode=verify-ca&sslrootcert={known}"), None),
        (
            &good,
            format!("sslmode=require&sslrootcert={unknown}"),
            Some("issued by an unknown authority"),
        ),
        (&good, "sslmode=verify-full".to_owned(), Some("`sslrootcert`")),
        (
            &expired,
            format!("sslmode=require&sslrootcert={known}"),
            Some("has expired"),
        ),
        (
            &misnamed,
            format!("sslmode=verify-full&sslrootcert={known}"),
            Some("another name"),
        ),
        (
            &good,
            "sslmode=require&sslrootcert=/no/such/file".to_owned(),
            Some("the file /no/such/file of `sslrootcert`"),
        ),
    ] {
        let code = if said.is_some() { 6 } else { 0 };
        let ran = with_url(&bed, &["migrate", "--dry-run"], &format!("{url}?{parameters}"))
            .await
            .ended_with(code);
        if let Some(said) = said {
            assert!(
                ran.stderr.contains(said) && ran.stderr.contains("0.0.0.0:"),
                "{parameters}: {}",
                ran.stderr
            );
        }
    }

    let mut command = bed.command(&["migrate", "--dry-run"]);
    command
        .env("SOURCE_DATABASE_URL", format!("{good}?sslmode=require"))
        .env("TOKENFERRY__LEDGER__URL", bed.database.url())
        .env("PGSSLROOTCERT", &unknown);
    ended(command.output()).await.ended_with(6);
    let mut command = bed.command(&["migrate", "--dry-run"]);
    command
        .env("SOURCE_DATABASE_URL", &good)
        .env("PGSSLMODE", "verify_full");
    let ran = ended(command.output()).await.ended_with(2);
    assert!(ran.stderr.contains("PGSSLMODE"), "{}", ran.stderr);
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_with_the_cause_and_the_remedy() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let wrong_password = bed.database.url_for("nobody_of_that_name", "S3CRET", None);
    for (url, said) in [
        (
            format!("postgres://u:S3CRET@127.0.0.1:{closed}/x"),
            vec!["127.0.0.1:", "refused", "check host and port"],
        ),
        (
            "postgres://u:S3CRET@no-such-host.invalid/x".to_owned(),
            vec!["no-such-host.invalid:5432", "host name not found"],
        ),
        (
            "postgres://u:S3CRET@/x?host=/no/such/folder".to_owned(),
            vec!["/no/such/folder", "the socket does not exist"],
        ),
        (wrong_password, vec!["nobody_of_that_name"]),
    ] {
        for source in [true, false] {
            let mut command = bed.command(&["migrate"]);
            command.env("TOKENFERRY__STOP__AFTER_UNREACHABLE", "1s");
            command.env(
                "TOKENFERRY__LEDGER__URL",
                if source { bed.database.url() } else { &url },
            );
            if source {
                command.env("SOURCE_DATABASE_URL", &url);
            }
            let ran = ended(command.output()).await.ended_with(6);
            for said in &said {
                assert!(ran.stderr.contains(said), "{url} {said}: {}", ran.stderr);
            }
            assert!(!ran.stderr.contains("S3CRET"), "{}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn parameters_that_are_not_understood_end_the_command_by_name() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let separator = if bed.database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    for (parameter, name) in [
        ("sslpassword=S3CRET", "sslpassword"),
        ("connection_limit=S3CRET", "connection_limit"),
        ("service=S3CRET", "service"),
    ] {
        let url = format!("{}{separator}{parameter}", bed.database.url());
        let mut command = bed.command(&["migrate"]);
        command.env("SOURCE_DATABASE_URL", &url).env("RUST_LOG", "trace");
        let ran = ended(command.output()).await.ended_with(2);
        assert!(
            ran.stderr.contains(name) && !ran.stderr.contains("S3CRET"),
            "{}",
            ran.stderr
        );
    }
    let mut command = bed.command(&["migrate"]);
    command.env("PGSERVICE", "S3CRET");
    let ran = ended(command.output()).await.ended_with(2);
    assert!(
        ran.stderr.contains("PGSERVICE") && !ran.stderr.contains("S3CRET"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_ledger_that_cannot_hold_every_name_is_refused() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let latin = bed.database.role("latin1");
    bed.sql(&format!(
        "create database {latin} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    ))
    .await;
    let options: PgConnectOptions = bed.database.url().parse().unwrap();
    let url = bed
        .database
        .url()
        .replace(options.get_database().unwrap(), &latin);
    for arguments in [&["doctor"][..], &["migrate"]] {
        let mut command = bed.command(arguments);
        command.env("TOKENFERRY__LEDGER__URL", &url);
        let ran = ended(command.output()).await.ended_with(2);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains("LATIN1") && said.contains("encoding 'UTF8'"),
            "{said}"
        );
    }
    bed.sql(&format!("drop database {latin} with (force)")).await;
}
