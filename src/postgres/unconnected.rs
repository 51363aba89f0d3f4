//! Why no connection was made: to where, what is wrong, and what to do.

use std::{error::Error as StdError, fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use sqlx::Error;

use super::{Address, Failure, FailureKind, address::Line, failure::visible};

/// What became of the attempt.
pub(super) fn explain(error: Error, address: &Address) -> Failure {
    let place = address.place();
    match error {
        Error::Io(error) => of_io(&error, &place),
        Error::Tls(error) => of_tls(error.as_ref(), &place),
        Error::PoolTimedOut => unreachable(format!(
            "{place} did not answer within {}: check host and port, and that no firewall is in between",
            humantime::format_duration(address.connect_within())
        )),
        Error::Configuration(error) if error.to_string().contains("saslprep") => wrong(format!(
            "the password (or the user) for {place} holds characters that the driver's SCRAM does not take, though `psql` does: give the \
             role a password of visible characters"
        )),
        Error::Configuration(_) => wrong(format!(
            "the TLS settings for {place} do not fit together: `sslcert` and `sslkey` go together, and each names a PEM file"
        )),
        Error::Protocol(text) if text.contains("unsupported authentication") || text.contains("SASL") => {
            wrong(format!(
                "{place} asks for a way to authenticate that tokenferry does not have: let pg_hba.conf ask for scram-sha-256 or a certificate"
            ))
        }
        Error::Protocol(_) => unreachable(format!(
            "{place} broke the connection off, or is no Postgres server: check host and port"
        )),
        Error::Database(error) => {
            let failure = Failure::from(Error::Database(error));
            let remedy = remedy(&failure, address);
            failure.told(&place, remedy)
        }
        other => Failure::from(other),
    }
}

fn remedy(failure: &Failure, address: &Address) -> &'static str {
    match failure.sqlstate.as_deref() {
        Some("28P01") => "check user and password in the URL (or PGPASSWORD, or ~/.pgpass)",
        Some("28000") if address.line() == Line::Plain => {
            "the server may let nobody in without TLS: leave `sslmode=disable` out; or have the role and this host added to pg_hba.conf"
        }
        Some("28000") => "check the user, and have role, database and this host added to pg_hba.conf",
        Some("3D000") => "check the database's name in the URL",
        Some("42501") => "grant the role `connect` on the database",
        Some("53300") => {
            "raise the limit (`connection limit` of the role or database, `max_connections`), or let fewer others be connected"
        }
        Some("57P03") => "wait until the server has started",
        _ => "see the server's own log",
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
            "check host and port, and that the server runs",
        ),
        io::ErrorKind::TimedOut => (
            "no answer in time",
            "check host and port, and that no firewall is in between",
        ),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => (
            "no way leads there from this machine",
            "check the host, and the network or VPN",
        ),
        io::ErrorKind::NotFound => (
            "there is no such socket, or no such certificate file",
            "check the folder in `host`, the port, and the files in `sslrootcert`, `sslcert` and `sslkey`",
        ),
        io::ErrorKind::PermissionDenied => (
            "this user may not open it",
            "check the rights of the socket, and of the files in `sslrootcert`, `sslcert` and `sslkey`",
        ),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => (
            "the connection was ended at once",
            "check that a Postgres server listens there, and its log",
        ),
        _ if text.contains("lookup address") => (
            "no such host name (DNS)",
            "check the host, and this machine's DNS",
        ),
        _ => (
            "the connection failed",
            "check host and port, and that the database answers from here",
        ),
    };
    unreachable(format!("{place}: {cause}: {remedy}"))
}

fn of_tls(error: &(dyn StdError + 'static), place: &str) -> Failure {
    let Some(error) = error.downcast_ref::<TlsError>() else {
        let text = error.to_string();
        if text.contains("does not support TLS") {
            return wrong(format!(
                "{place} offers no TLS, which is required for hosts that are not this machine (earlier versions, and `psql`, went on \
                 without): switch TLS on there, or write `sslmode=disable` into the URL if whoever can listen may read the tokens"
            ));
        }
        return wrong(format!(
            "no secure connection to {place} could be made ({}): check `sslrootcert`, `sslcert` and `sslkey`",
            short(&text)
        ));
    };
    let TlsError::InvalidCertificate(certificate) = error else {
        return match error {
            // A server whose only certificate has a key that was not offered says no more than that the handshake failed.
            TlsError::PeerIncompatible(_)
            | TlsError::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ) => wrong(format!(
                "{place} and this program have no version of TLS, no cipher or no kind of key in common: let the server speak TLS 1.2 or \
                 1.3 and have a certificate with an RSA, P-256, P-384 or Ed25519 key (not P-521); if it wants a certificate of the \
                 client's, name that in `sslcert` and `sslkey`"
            )),
            TlsError::AlertReceived(_) => wrong(format!(
                "{place} turned the TLS connection down ({}): it may want a certificate of the client's (`sslcert`, `sslkey`)",
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
            "the certificate of {place} has expired: check this machine's clock, and have the certificate renewed if that is right"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {place} is not valid yet: check this machine's clock")
        }
        // Another authority of the same name signs otherwise.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {place} is of an authority that is not known here: name the file with the authority's certificate in \
             `sslrootcert`"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the certificate of {place} is made out to another name, or has its name in the common name (CN) only, which is not looked at: \
             check the host, have the certificate issued with that name as subjectAltName, or write `sslmode=verify-ca`"
        ),
        other => format!(
            "the certificate of {place} cannot be checked by this program ({}): it takes X.509 v3, signed by an authority (a certificate \
             that is its own authority must not be the server's, too), with RSA, P-256, P-384 or Ed25519 keys: have such a one issued",
            of_kind(other)
        ),
    })
}

/// Some kinds are only told apart by what the library calls them.
fn of_kind(error: &CertificateError) -> String {
    let name = format!("{error:?}");
    let known = [
        ("UnsupportedCertVersion", "it is X.509 v1"),
        ("CaUsedAsEndEntity", "it is an authority's own"),
        (
            "UnsupportedSignatureAlgorithm",
            "its kind of key or signature is not known",
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
