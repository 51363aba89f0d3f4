//! The ledger's sessions: how each is opened, and what it is told before its first statement.

use std::time::Duration;

use sqlx::Executor;

use super::LedgerError;
use crate::{
    config::LedgerAccess,
    postgres::{Patience, Pool, Session, quote_identifier},
};

/// How long statements may take that write or look at many rows: as long as the server is there at all.
pub(super) const MANY_ROWS: Duration = Duration::from_mins(10);

/// A session of its own, beside those of a pool.
pub(super) async fn connect(
    access: &LedgerAccess,
    limit: Duration,
    patience: &Patience,
) -> Result<Session, LedgerError> {
    let set_up = set_up(&access.ledger.schema);
    let session = Session::connect(&access.ledger.url, &name(access), limit, patience, &set_up).await;
    Ok(session?)
}

/// A session that reads the ledger's tables and can change nothing.
pub(super) async fn connect_to_read(access: &LedgerAccess) -> Result<Session, LedgerError> {
    let mut session = connect(access, MANY_ROWS, &Patience::none()).await?;
    session.execute("set default_transaction_read_only = on").await?;
    Ok(session)
}

/// The sessions that keep the ledger, opened as they are needed.
pub(super) fn pool(access: &LedgerAccess, connections: u32, patience: &Patience) -> Pool {
    let set_up = set_up(&access.ledger.schema);
    let address = access.ledger.url.clone();
    Pool::new(address, name(access), connections, patience, set_up)
}

/// What every session is told. What was recorded must be there after a crash: a request follows upon an intent, and nothing would
/// tell that its token is gone from the ledger. Where a standby is waited for, too, that stays so.
///
/// Nothing of the role's own search path is left: the catalog comes first where it is not named, what is made is made in the schema,
/// and a temporary table comes last. Nor are limits that the role or the database sets: how long is waited is decided here.
fn set_up(schema: &str) -> String {
    format!(
        "set search_path to {}, pg_temp; set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = '60s'; \
         select pg_catalog.set_config('synchronous_commit', 'on', false) \
         where pg_catalog.current_setting('synchronous_commit') in ('off', 'local')",
        quote_identifier(schema)
    )
}

/// By this the sessions of a migration are known.
fn name(access: &LedgerAccess) -> String {
    format!("tokenferry {}", access.migration)
}
