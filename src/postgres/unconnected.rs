//! Explanations of failed connections: the place, the problem and the remedy.

use std::{error::Error as StdError, fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use sqlx::Error;

use super::{Address, Failure, FailureKind, address::Line, failure::visible};

/// Explains a failed attempt.
pub(super) fn explain(error: Error, address: &Address) -> Failure {
    let place = address.place();
    let is_about_tls = match &error {
        Error::Tls(_) | Error::Configuration(_) => true,
        Error::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    };
    if is_about_tls && let Some((name, file)) = address.missing_certificate() {
        return wrong(format!(
            "the file {} of `{name}` for {place} does not exist: correct the path, or mount the file there",
            visible(file)
        ));
    }
    match error {
        Error::Io(error) => of_io(&error, &place),
        Error::Tls(error) => of_tls(error.as_ref(), &place),
        Error::PoolTimedOut => unreachable(format!(
            "{place} did not respond within {}",
            humantime::format_duration(address.connect_within())
        ))
        .with_remedy("check host, port and firewalls"),
        Error::Configuration(error) if error.to_string().contains("saslprep") => wrong(format!(
            "the password (or the user) for {place} contains characters that the driver's SCRAM does not accept, although `psql` does: give the \
             role a password of visible characters"
        )),
        Error::Configuration(_) => wrong(format!(
            "the TLS settings for {place} are inconsistent: `sslcert` and `sslkey` must be set together, and each must name a PEM file"
        )),
        Error::Protocol(text) if text.contains("unsupported authentication") || text.contains("SASL") => {
            wrong(format!(
                "{place} requires an unsupported authentication method: set scram-sha-256 or a certificate in pg_hba.conf"
            ))
        }
        Error::Protocol(_) => unreachable(format!(
            "{place} closed the connection, or is not a Postgres server"
        ))
        .with_remedy("check host and port"),
        Error::Database(error) => {
            let failure = Failure::from(Error::Database(error));
            let remedy = remedy(&failure, address);
            failure.at(&place).with_remedy(remedy)
        }
        other => Failure::from(other),
    }
}

fn remedy(failure: &Failure, address: &Address) -> &'static str {
    match failure.sqlstate.as_deref() {
        Some("28P01") => "check user and password in the URL (or PGPASSWORD, or ~/.pgpass)",
        Some("28000") if address.line() == Line::Plain => {
            "the server may require TLS: remove `sslmode=disable`, or add the role and this host to pg_hba.conf"
        }
        Some("28000") => "check the user, and add role, database and this host to pg_hba.conf",
        Some("3D000") => "check the database name in the URL",
        Some("42501") => "grant `connect` on the database to the role",
        Some("53300") => {
            "raise the limit (`connection limit` of the role or database, `max_connections`), or close other connections"
        }
        Some("57P03") => "wait until the server has started",
        _ => "check the server's log",
    }
}

fn of_io(error: &io::Error, place: &str) -> Failure {
    if let Some(error) = error.get_ref()
        && error.is::<TlsError>()
    {
        return of_tls(error, place);
    }
    let text = error.to_string();
    let (cause, remedy) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            "nothing listens there (connection refused)",
            "check host and port, and that the server is running",
        ),
        io::ErrorKind::TimedOut => ("no response in time", "check host, port and firewalls"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => (
            "no route from this machine",
            "check the host, and the network or VPN",
        ),
        io::ErrorKind::NotFound => (
            "the socket does not exist",
            "check the folder in `host` and the port",
        ),
        io::ErrorKind::PermissionDenied => (
            "permission denied",
            "check the permissions of the socket and of the files in `sslrootcert`, `sslcert` and `sslkey`",
        ),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => (
            "the connection was closed immediately",
            "check that a Postgres server listens there, and its log",
        ),
        _ if text.contains("lookup address") => (
            "host name not found (DNS)",
            "check the host, and this machine's DNS",
        ),
        _ => (
            "the connection failed",
            "check host and port, and that the database is reachable from here",
        ),
    };
    unreachable(format!("{place}: {cause}")).with_remedy(remedy)
}

fn of_tls(error: &(dyn StdError + 'static), place: &str) -> Failure {
    let Some(error) = error.downcast_ref::<TlsError>() else {
        let text = error.to_string();
        if text.contains("does not support TLS") {
            return wrong(format!(
                "{place} offers no TLS, which is required beyond this machine (earlier versions, and `psql`, connected \
                 without): turn on TLS there, or set `sslmode=disable` if others on the network may read the tokens"
            ));
        }
        return wrong(format!(
            "no secure connection to {place} could be established ({}): check `sslrootcert`, `sslcert` and `sslkey`",
            short(&text)
        ));
    };
    let TlsError::InvalidCertificate(certificate) = error else {
        return match error {
            // The server only reports a failed handshake if the key of its only certificate has a type that
            // was not offered.
            TlsError::PeerIncompatible(_)
            | TlsError::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ) => wrong(format!(
                "{place} and this program have no TLS version, cipher or key type in common: use TLS 1.2 or 1.3 on the server, and a \
                 certificate with an RSA, P-256, P-384 or Ed25519 key (not P-521); if it requires a certificate of the \
                 client's, name that in `sslcert` and `sslkey`"
            )),
            TlsError::AlertReceived(_) => wrong(format!(
                "{place} rejected the TLS connection ({}): it may require a client certificate (`sslcert`, `sslkey`)",
                short(error)
            )),
            _ => unreachable(format!(
                "TLS with {place} failed ({}): check host, port and `sslmode`",
                short(error)
            )),
        };
    };
    wrong(match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {place} has expired: check this machine's clock, and renew the certificate if the clock is right"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {place} is not valid yet: check this machine's clock")
        }
        // Another authority with the same name has a different signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {place} is issued by an unknown authority: name the file with the authority's certificate in `sslrootcert`"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the certificate of {place} is issued for another name, or has the name only as common name (CN), which is ignored: \
             check the host, issue the certificate with that name as subjectAltName, or set `sslmode=verify-ca`"
        ),
        other => format!(
            "the certificate of {place} cannot be verified ({}): issue an X.509 v3 certificate signed by an authority (not an authority's own \
             certificate), with an RSA, P-256, P-384 or Ed25519 key",
            of_kind(other)
        ),
    })
}

/// Some kinds are distinguished only by their names in the library.
fn of_kind(error: &CertificateError) -> String {
    let name = format!("{error:?}");
    let known = [
        ("UnsupportedCertVersion", "it is X.509 v1"),
        ("CaUsedAsEndEntity", "it is an authority's own certificate"),
        (
            "UnsupportedSignatureAlgorithm",
            "its key or signature type is unknown",
        ),
    ];
    known
        .iter()
        .find(|(variant, _)| name.contains(variant))
        .map_or_else(|| short(error), |(_, says)| (*says).to_owned())
}

fn unreachable(text: String) -> Failure {
    Failure::of_our_own(FailureKind::Unreachable, text)
}

fn wrong(text: String) -> Failure {
    Failure::of_our_own(FailureKind::Permission, text)
}

fn short(text: &(impl fmt::Display + ?Sized)) -> String {
    visible(&text.to_string()).chars().take(120).collect()
}
