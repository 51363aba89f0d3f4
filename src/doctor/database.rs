//! What source and ledger have in common: a server to reach, over a line that should be private.

use super::{Area, Blame, Check};
use crate::postgres::{Failure, FailureKind, Server, Transport};

/// The database was not reached, or did not let us in.
pub(super) fn unreachable(area: Area, key: &str, failure: &Failure) -> Check {
    let advice = match failure.kind {
        FailureKind::Permission => {
            format!("check the user, the password and the database of `{key}`, and what the role is granted")
        }
        _ => format!("check host, port and `sslmode` of `{key}`, and that the database answers from here"),
    };
    Check::failed(area, Blame::Database, "connection", failure.to_string(), advice)
}

/// A look that the database cut short.
pub(super) fn broken(area: Area, name: &str, failure: &Failure) -> Check {
    let advice = match failure.kind {
        FailureKind::Permission => "grant the role what it lacks",
        FailureKind::RowSecurity => "read as a role that no policy of these tables applies to",
        FailureKind::Timeout => "try again when the database has less to do",
        _ => "try again; see the database's own log",
    };
    Check::failed(area, Blame::Database, name, failure.to_string(), advice)
}

/// The server was reached.
pub(super) fn reached(area: Area, server: &Server) -> Check {
    let standby = if server.is_standby { ", a standby" } else { "" };
    let detail = format!(
        "Postgres {}{standby}, database \"{}\", role \"{}\"",
        server.version, server.database, server.role
    );
    Check::ok(area, "connection", detail)
}

/// Whether others can listen.
pub(super) fn line(area: Area, key: &str, server: &Server) -> Check {
    match &server.transport {
        Transport::Tls(version) => Check::ok(area, "tls", version),
        Transport::Local => Check::ok(
            area,
            "tls",
            "none, and the connection does not leave this machine",
        ),
        Transport::Plain => Check::warning(
            area,
            "tls",
            "none: whoever can listen on the network reads what passes",
            format!("add sslmode=verify-full (or at least sslmode=require) to `{key}`"),
        ),
    }
}
