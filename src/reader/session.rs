//! The one connection to the source.

use std::time::Duration;

use super::session_settings;
use crate::{
    config::{RowSecurity, SourceSettings},
    postgres::{CATALOG_FIRST, Failure, Patience, Session},
};

/// The server itself ends a statement that takes too long. If it does not, it is gone.
const SLACK: Duration = Duration::from_secs(5);

/// Opens a connection that cannot write, says who it is, bounds every statement, and has what expressions ask
/// for.
pub(super) async fn connect(
    settings: &SourceSettings,
    application_name: &str,
    patience: &Patience,
) -> Result<Session, Failure> {
    let mut connection = open(settings, application_name, patience).await?;
    session_settings::apply_session_settings(&mut connection, &settings.session).await?;
    Ok(connection)
}

/// The session's role and search path. With another one, row security, defaults of roles and databases, or
/// the search path may show other rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Perspective {
    /// The role.
    pub role: String,
    /// The search path as it is set, with `"$user"` in it: that schema may come into being with the ledger.
    pub search_path: String,
}

impl Perspective {
    /// Asks the server.
    pub(super) async fn of(connection: &mut Session) -> Result<Self, Failure> {
        let (role, search_path) = sqlx::query_as("select current_user::text, current_setting('search_path')")
            .fetch_one(connection)
            .await?;
        Ok(Self { role, search_path })
    }
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
    // Off does not switch the policies off: a query that one of them would take rows from is an error then.
    let row_security = match settings.row_security {
        RowSecurity::Refuse => "off",
        RowSecurity::Allow => "on",
    };
    let session = format!(
        "{path}{CATALOG_FIRST}; set default_transaction_read_only = on; set row_security = {row_security}; set statement_timeout = {timeout}; set lock_timeout = '10s'; \
         set idle_in_transaction_session_timeout = '60s'; set timezone = 'UTC'; set extra_float_digits = 2; set bytea_output = 'hex'; set plan_cache_mode = force_custom_plan"
    );
    let limit = settings.statement_timeout.saturating_add(SLACK);
    Ok(Session::connect(address, application_name, limit, patience, &session).await?)
}

/// The one connection of a source, opened again after it was lost.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Option<Session>,
    pub(super) settings: SourceSettings,
    pub(super) application_name: String,
    pub(super) patience: Patience,
}

impl Connection {
    /// Returns the open session, or a new one.
    pub(super) async fn session(&mut self) -> Result<&mut Session, Failure> {
        let session = match self.session.take() {
            Some(session) if !session.is_given_up() => session,
            Some(_) | None => connect(&self.settings, &self.application_name, &self.patience).await?,
        };
        Ok(self.session.insert(session))
    }

    /// Returns another connection to the same source, not open yet.
    pub(super) fn another(&self) -> Self {
        Self {
            session: None,
            settings: self.settings.clone(),
            application_name: self.application_name.clone(),
            patience: self.patience.clone(),
        }
    }
}
