//! The one connection to the source.

use std::time::Duration;

use super::handover;
use crate::{
    config::SourceSettings,
    postgres::{CATALOG_FIRST, Failure, Patience, Session},
};

/// The server itself ends a statement that takes too long. If it does not, it is gone.
const SLACK: Duration = Duration::from_secs(5);

/// Opens a connection that cannot write, says who it is, bounds every statement, and has what expressions ask for.
pub(super) async fn connect(
    settings: &SourceSettings,
    application_name: &str,
    patience: &Patience,
) -> Result<Session, Failure> {
    let mut connection = open(settings, application_name, patience).await?;
    handover::hand_over(&mut connection, &settings.session).await?;
    Ok(connection)
}

/// The same without what expressions ask for.
pub(super) async fn open(
    settings: &SourceSettings,
    application_name: &str,
    patience: &Patience,
) -> Result<Session, Failure> {
    let address = &settings.url;
    let path = address
        .schemas()
        .map(|schemas| format!("set search_path to {schemas}; "))
        .unwrap_or_default();
    let timeout = settings.statement_timeout.as_millis();
    let session = format!(
        "{path}{CATALOG_FIRST}; set default_transaction_read_only = on; set statement_timeout = {timeout}; set lock_timeout = '10s'; \
         set idle_in_transaction_session_timeout = '60s'; set timezone = 'UTC'; set extra_float_digits = 2; set plan_cache_mode = force_custom_plan"
    );
    let limit = settings.statement_timeout.saturating_add(SLACK);
    Ok(Session::connect(address, application_name, limit, patience, &session).await?)
}

/// The connection there is, or a new one.
pub(super) async fn connected<'a>(
    held: &'a mut Option<Session>,
    settings: &SourceSettings,
    application_name: &str,
    patience: &Patience,
) -> Result<&'a mut Session, Failure> {
    let connection = match held.take() {
        Some(connection) if !connection.is_given_up() => connection,
        Some(_) | None => connect(settings, application_name, patience).await?,
    };
    Ok(held.insert(connection))
}
