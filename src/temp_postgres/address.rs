//! Address of a throwaway server, and the connection URLs that follow from it.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::temp_postgres::{Listen, TempPostgresError};

/// The superuser of every throwaway server.
pub(super) const USER: &str = "tokenferry";
/// The database that is there from the start, from which others are made.
pub(super) const ADMIN_DATABASE: &str = "postgres";
/// In a private folder every server can have the usual port, which is only part of the socket's name there.
const SOCKET_PORT: u16 = 5432;

#[derive(Debug, Clone)]
pub(super) enum Address {
    Socket { folder: PathBuf },
    Loopback { port: u16 },
}

impl Address {
    pub(super) fn pick(listen: Listen, folder: &Path) -> io::Result<Self> {
        match listen {
            Listen::Socket => Ok(Self::Socket {
                folder: folder.to_owned(),
            }),
            Listen::Loopback => {
                // Free now, but it may be taken when the server starts.
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                Ok(Self::Loopback {
                    port: listener.local_addr()?.port(),
                })
            }
        }
    }

    /// The server's settings that make it listen here and nowhere else.
    pub(super) fn settings(&self) -> [(&'static str, String); 3] {
        let (addresses, folders, port) = match self {
            Self::Socket { folder } => (String::new(), folder.display().to_string(), SOCKET_PORT),
            Self::Loopback { port } => (Ipv4Addr::LOCALHOST.to_string(), String::new(), *port),
        };
        [
            ("listen_addresses", addresses),
            ("unix_socket_directories", folders),
            ("port", port.to_string()),
        ]
    }

    /// `sslmode` is given because a `PGSSLMODE` in the environment, meant for another server, would win
    /// otherwise.
    pub(super) fn url(&self, database: &str) -> String {
        let database = percent_encoded(database);
        match self {
            Self::Socket { folder } => {
                let host = percent_encoded(&folder.display().to_string());
                format!("postgres://{USER}@localhost:{SOCKET_PORT}/{database}?host={host}&sslmode=disable")
            }
            Self::Loopback { port } => {
                format!(
                    "postgres://{USER}@{}:{port}/{database}?sslmode=disable",
                    Ipv4Addr::LOCALHOST
                )
            }
        }
    }

    pub(super) async fn create_database(&self, name: &str) -> Result<(), TempPostgresError> {
        let action = format!("create the database {name}");
        let statement = format!(r#"create database "{}""#, name.replace('"', r#""""#));
        let run = async {
            let mut connection = PgConnection::connect(&self.url(ADMIN_DATABASE)).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            connection.close().await
        };
        run.await.map_err(TempPostgresError::query(action))
    }
}

/// Encodes all but what needs no encoding anywhere in a URL.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;

    use super::*;

    #[test]
    fn a_socket_url_says_to_sqlx_what_it_should() {
        let address = Address::Socket {
            folder: "/tmp/a b+c".into(),
        };
        let options: PgConnectOptions = address.url("odd name/%?").parse().unwrap();
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/tmp/a b+c")));
        assert_eq!(options.get_port(), SOCKET_PORT);
        assert_eq!(options.get_username(), USER);
        assert_eq!(options.get_database(), Some("odd name/%?"));
    }

    #[test]
    fn a_loopback_url_names_the_port() {
        let url = Address::Loopback { port: 4321 }.url("crm");
        assert_eq!(url, "postgres://tokenferry@127.0.0.1:4321/crm?sslmode=disable");
    }
}
