//! Database checks shared by source and ledger: reachability, encryption and search path.

use super::{Area, Check, FailureClass};
use crate::postgres::{Failure, FailureKind, Line, Server, SharedSchema, Transport};

/// Reports a database that could not be reached or refused the login.
pub(super) fn unreachable(area: Area, key: &str, failure: &Failure) -> Check {
    let (class, advice) = match failure.kind {
        FailureKind::Pooled => (
            FailureClass::Configuration,
            format!("set `{key}` to an address that bypasses the pooler"),
        ),
        // The certificate, encryption or password prevents the connection before the server answers.
        FailureKind::Permission if failure.sqlstate.is_none() => (
            FailureClass::Database,
            format!("fix it in `{key}` or on the server"),
        ),
        _ => (
            FailureClass::Database,
            format!(
                "{} (`{key}`)",
                failure.remedy().unwrap_or(
                    "check host, port and `sslmode`, and that the database is reachable from here"
                )
            ),
        ),
    };
    let detail = failure.clone().without_remedy().to_string();
    Check::failed(area, class, "connection", detail, advice)
}

/// Reports a check that failed in the database.
pub(super) fn broken(area: Area, name: &str, failure: &Failure) -> Check {
    let advice = match failure.kind {
        FailureKind::Permission => "grant the missing privileges to the role",
        FailureKind::RowSecurity => "use a role that no policy of these tables applies to",
        FailureKind::Timeout => "try again when the database is less busy",
        _ => "try again; check the database log",
    };
    Check::failed(area, FailureClass::Database, name, failure.to_string(), advice)
}

/// Reports the server that was reached.
pub(super) fn reached(area: Area, server: &Server) -> Check {
    let standby = if server.is_standby { ", a standby" } else { "" };
    let detail = format!(
        "Postgres {}{standby}, database \"{}\", role \"{}\"",
        server.version, server.database, server.role
    );
    Check::ok(area, "connection", detail)
}

/// Checks whether others can replace an operator, function or table by creating their own in the search path.
pub(super) fn search_path(area: Area, shared: &[SharedSchema]) -> Check {
    const NAME: &str = "search_path";
    let Some(first) = shared.first() else {
        return Check::ok(
            area,
            NAME,
            "nobody else can create objects in a schema of the search path",
        );
    };
    let all: Vec<String> = shared
        .iter()
        .map(|shared| format!("{} in {}", shared.roles.join(", "), shared.schema))
        .collect();
    let written = match area {
        Area::Source => {
            ", which resolves unqualified names in `source.table`, `query`, `where` and { sql = … }"
        }
        _ => "",
    };
    Check::warning(
        area,
        NAME,
        format!(
            "others can create objects in a schema of the search path ({}){written}",
            all.join("; ")
        ),
        format!(
            "revoke create on schema {} from {} (or qualify every table and function that you name)",
            first.schema,
            first.roles.join(", ")
        ),
    )
    .with_fix(shared.iter().map(|shared| {
        format!(
            "revoke create on schema {} from {};",
            shared.schema,
            shared.roles.join(", ")
        )
    }))
}

/// Checks whether the connection can be intercepted. The server sees what a tunnel or pooler hides from the
/// client, and vice versa.
pub(super) fn line(area: Area, key: &str, line: Line, server: &Server) -> Check {
    match &server.transport {
        _ if line == Line::Plain => Check::warning(
            area,
            "tls",
            "not encrypted, because of `sslmode=disable`: anyone on the network path can read the traffic",
            format!("set sslmode=verify-full (or at least sslmode=require) in `{key}`"),
        ),
        Transport::Tls(version) => Check::ok(area, "tls", version),
        Transport::Local => Check::ok(
            area,
            "tls",
            "not encrypted, but the connection does not leave this machine",
        ),
        Transport::Plain => Check::warning(
            area,
            "tls",
            "not encrypted: anyone on the network path can read the traffic",
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
        // A local pooler in front of a remote database.
        assert_eq!(judged(Line::Local, Transport::Plain), Status::Warning);
        assert_eq!(judged(Line::Tls, Transport::Plain), Status::Warning);
        // TLS up to a pooler next to the server.
        assert_eq!(judged(Line::Tls, Transport::Local), Status::Ok);
        assert_eq!(judged(Line::Local, Transport::Local), Status::Ok);
        assert_eq!(judged(Line::Tls, Transport::Tls("TLSv1.3".into())), Status::Ok);
        assert_eq!(judged(Line::Plain, Transport::Local), Status::Warning);
    }
}
