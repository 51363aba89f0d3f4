//! The one connection to the source.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};

use super::handover;
use crate::{config::SourceSettings, postgres::Failure};

/// Opens a connection that cannot write, says who it is, bounds every statement, and has what expressions ask for.
pub(super) async fn connect(
    settings: &SourceSettings,
    application_name: &str,
) -> Result<PgConnection, Failure> {
    let mut connection = open(settings, application_name).await?;
    handover::hand_over(&mut connection, &settings.session).await?;
    Ok(connection)
}

/// The same without what expressions ask for.
pub(super) async fn open(settings: &SourceSettings, application_name: &str) -> Result<PgConnection, Failure> {
    let options: PgConnectOptions = settings.url.reveal().parse()?;
    // Statements are not logged: an expression of the user's may hold what should not be in a log.
    let options = options
        .application_name(application_name)
        .disable_statement_logging();
    let mut connection = within(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await?;
    let timeout = settings.statement_timeout.as_millis();
    let session = format!(
        "set default_transaction_read_only = on; set statement_timeout = {timeout}; set lock_timeout = '10s'; \
         set idle_in_transaction_session_timeout = '60s'; set timezone = 'UTC'; set plan_cache_mode = force_custom_plan"
    );
    connection.execute(AssertSqlSafe(session)).await?;
    Ok(connection)
}

/// The connection there is, or a new one.
pub(super) async fn connected<'a>(
    held: &'a mut Option<PgConnection>,
    settings: &SourceSettings,
    application_name: &str,
) -> Result<&'a mut PgConnection, Failure> {
    let connection = match held.take() {
        Some(connection) => connection,
        None => connect(settings, application_name).await?,
    };
    Ok(held.insert(connection))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
