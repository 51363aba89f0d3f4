//! The ledger's sessions, and the settings each of them starts with.

use std::time::Duration;

use sqlx::Executor;

use super::LedgerError;
use crate::{
    config::LedgerAccess,
    postgres::{Patience, Pool, Session, quote_identifier},
};

/// Limit for statements that write or read many rows.
pub(super) const MANY_ROWS: Duration = Duration::from_mins(10);

/// Opens a session outside the pool.
pub(super) async fn connect(
    access: &LedgerAccess,
    limit: Duration,
    patience: &Patience,
) -> Result<Session, LedgerError> {
    let set_up = set_up(&access.ledger.schema);
    let session = Session::connect(&access.ledger.url, &name(access), limit, patience, &set_up).await;
    Ok(session?)
}

/// Opens a session that can read the ledger's tables and change nothing.
pub(super) async fn connect_to_read(access: &LedgerAccess) -> Result<Session, LedgerError> {
    let mut session = connect(access, MANY_ROWS, &Patience::none()).await?;
    session.execute("set default_transaction_read_only = on").await?;
    Ok(session)
}

/// Creates the pool that the ledger's statements use; it opens sessions as they are needed.
pub(super) fn pool(access: &LedgerAccess, connections: u32, patience: &Patience) -> Pool {
    let set_up = set_up(&access.ledger.schema);
    let address = access.ledger.url.clone();
    Pool::new(address, name(access), connections, patience, set_up)
}

/// Returns the statements that set up each session.
///
/// `synchronous_commit` is raised to `on` if it is weaker: a request follows its intent, and nothing else
/// would tell that the intent was lost in a crash. A setting that waits for a standby stays.
///
/// The role's search path is replaced: unqualified names mean the catalog first, new objects go into the
/// schema, and temporary tables come last. Timeouts that the role or the database sets are replaced too.
fn set_up(schema: &str) -> String {
    format!(
        "set search_path to {}, pg_temp; set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = '60s'; \
         select pg_catalog.set_config('synchronous_commit', 'on', false) \
         where pg_catalog.current_setting('synchronous_commit') in ('off', 'local')",
        quote_identifier(schema)
    )
}

/// Returns the application name by which the sessions of a migration are known.
fn name(access: &LedgerAccess) -> String {
    format!("tokenferry {}", access.migration)
}
