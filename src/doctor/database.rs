//! Checks that source and ledger have in common: a server to reach, over a line that should be private.

use super::{Area, Check, FailureClass};
use crate::postgres::{Failure, FailureKind, Line, Server, SharedSchema, Transport};

/// The database was not reached, or did not let us in.
pub(super) fn unreachable(area: Area, key: &str, failure: &Failure) -> Check {
    let (class, advice) = match failure.kind {
        FailureKind::Pooled => (
            FailureClass::Configuration,
            format!("let `{key}` lead past that pooler"),
        ),
        // The server was not asked yet: certificate, encryption or password are not such that it could be.
        FailureKind::Permission if failure.sqlstate.is_none() => (
            FailureClass::Database,
            format!("put that right in `{key}`, or at the server"),
        ),
        FailureKind::Permission => (
            FailureClass::Database,
            format!("check the user, the password and the database of `{key}`, and what the role is granted"),
        ),
        _ => (
            FailureClass::Database,
            format!("check host, port and `sslmode` of `{key}`, and that the database answers from here"),
        ),
    };
    Check::failed(area, class, "connection", failure.to_string(), advice)
}

/// A look that the database cut short.
pub(super) fn broken(area: Area, name: &str, failure: &Failure) -> Check {
    let advice = match failure.kind {
        FailureKind::Permission => "grant the role what it lacks",
        FailureKind::RowSecurity => "read as a role that no policy of these tables applies to",
        FailureKind::Timeout => "try again when the database has less to do",
        _ => "try again; see the database's own log",
    };
    Check::failed(area, FailureClass::Database, name, failure.to_string(), advice)
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

/// Whether others can put an operator, a function or a table of their own in the place of what is meant.
pub(super) fn search_path(area: Area, shared: &[SharedSchema]) -> Check {
    const NAME: &str = "search_path";
    let Some(first) = shared.first() else {
        return Check::ok(
            area,
            NAME,
            "nobody else may create objects in a schema of the search path",
        );
    };
    let all: Vec<String> = shared
        .iter()
        .map(|shared| format!("{} in {}", shared.roles.join(", "), shared.schema))
        .collect();
    let written = match area {
        Area::Source => {
            ", which is what names without a schema mean in `source.table`, `query`, `where` and { sql = … }"
        }
        _ => "",
    };
    Check::warning(
        area,
        NAME,
        format!(
            "others may create objects in a schema of the search path ({}){written}",
            all.join("; ")
        ),
        format!(
            "revoke create on schema {} from {} (or name the schema of every table and function that you write)",
            first.schema,
            first.roles.join(", ")
        ),
    )
}

/// Whether others can listen. The server sees what a tunnel or a pooler on the way hides from here, and the other way round.
pub(super) fn line(area: Area, key: &str, line: Line, server: &Server) -> Check {
    match &server.transport {
        _ if line == Line::Plain => Check::warning(
            area,
            "tls",
            "none, as `sslmode=disable` says: whoever can listen on the network reads what passes",
            format!("write sslmode=verify-full (or at least sslmode=require) in `{key}`"),
        ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_line_is_judged_by_what_the_server_sees_and_not_by_the_url() {
        let judged = |line, transport| {
            let server = Server {
                version: "17.0".into(),
                database: "crm".into(),
                role: "reader".into(),
                is_superuser: false,
                is_standby: false,
                read_only_by_default: true,
                transport,
            };
            super::line(Area::Source, "source.url", line, &server).status
        };
        // A pooler on this machine, and the database is elsewhere.
        assert_eq!(judged(Line::Local, Transport::Plain), Status::Warning);
        assert_eq!(judged(Line::Tls, Transport::Plain), Status::Warning);
        // TLS as far as a pooler beside the server.
        assert_eq!(judged(Line::Tls, Transport::Local), Status::Ok);
        assert_eq!(judged(Line::Local, Transport::Local), Status::Ok);
        assert_eq!(judged(Line::Tls, Transport::Tls("TLSv1.3".into())), Status::Ok);
        assert_eq!(judged(Line::Plain, Transport::Local), Status::Warning);
    }
}
