//! Facts about a server and our session.

use super::{Failure, Session};

/// A server and our role there.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its version, as it prints it.
    pub version: String,
    /// The current database.
    pub database: String,
    /// The current role.
    pub role: String,
    /// True if the role is a superuser.
    pub is_superuser: bool,
    /// True if it is a read-only standby.
    pub is_standby: bool,
    /// True if the role's transactions are read-only by default.
    pub read_only_by_default: bool,
    /// The protection of the connection, as the server sees it.
    pub transport: Transport,
}

/// The protection of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket, or this machine's own address.
    Local,
    /// TLS of this version.
    Tls(String),
    /// Plain text over a network.
    Plain,
}

#[derive(sqlx::FromRow)]
struct Row {
    version: String,
    database: String,
    role: String,
    is_superuser: bool,
    is_standby: bool,
    read_only_by_default: bool,
    transport: String,
}

impl Server {
    /// Asks the server.
    ///
    /// # Errors
    /// Fails if the server does not respond.
    pub async fn ask(session: &mut Session) -> Result<Self, Failure> {
        // `reset_val` is the value at session start, before any `set`.
        let row: Row = sqlx::query_as(
            "select current_setting('server_version') as version, current_database()::text as database,
                    current_user::text as role, current_setting('is_superuser') = 'on' as is_superuser,
                    pg_is_in_recovery() as is_standby,
                    (select reset_val = 'on' from pg_settings where name = 'default_transaction_read_only')
                        as read_only_by_default,
                    coalesce((select version from pg_stat_ssl where pid = pg_backend_pid() and ssl),
                             case when inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1'
                                    or inet_client_addr() is null then 'local' else 'plain' end) as transport",
        )
        .fetch_one(session)
        .await?;
        Ok(Self {
            version: row.version,
            database: row.database,
            role: row.role,
            is_superuser: row.is_superuser,
            is_standby: row.is_standby,
            read_only_by_default: row.read_only_by_default,
            transport: match row.transport.as_str() {
                "local" => Transport::Local,
                "plain" => Transport::Plain,
                _ => Transport::Tls(row.transport),
            },
        })
    }
}
