//! The ledger's sessions: how each is opened, and what it is told before its first statement.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::LedgerError;
use crate::{
    config::LedgerAccess,
    postgres::{Failure, quote_identifier},
};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A session as the server sets it up, for what must not depend on ours: the lock, and the first look.
pub(super) async fn connect(access: &LedgerAccess) -> Result<PgConnection, LedgerError> {
    let options = options(access)?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
    let connection = connecting
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(Failure::from)?;
    Ok(connection)
}

/// A session that reads the ledger's tables and can change nothing.
pub(super) async fn connect_to_read(access: &LedgerAccess) -> Result<PgConnection, LedgerError> {
    let mut connection = connect(access).await?;
    let session = format!(
        "{}; set default_transaction_read_only = on",
        set_up(&access.ledger.schema)
    );
    connection
        .execute(AssertSqlSafe(session))
        .await
        .map_err(Failure::from)?;
    Ok(connection)
}

/// The sessions that keep the ledger, opened as they are needed.
pub(super) fn pool(access: &LedgerAccess, connections: u32) -> Result<PgPool, LedgerError> {
    let set_up = set_up(&access.ledger.schema);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(move |connection, _| {
            let set_up = set_up.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(set_up)).await.map(drop) })
        })
        .connect_lazy_with(options(access)?))
}

/// What every session is told that works on the ledger's tables.
pub(super) fn set_up(schema: &str) -> String {
    format!("set search_path to {}", quote_identifier(schema))
}

fn options(access: &LedgerAccess) -> Result<PgConnectOptions, LedgerError> {
    let options: PgConnectOptions = access.ledger.url.reveal().parse().map_err(Failure::from)?;
    Ok(options
        .application_name(&format!("tokenferry {}", access.migration))
        .disable_statement_logging())
}
