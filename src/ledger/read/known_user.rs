//! The user of a login ID, as far as the ledger knows it.

use super::{LedgerError, LedgerReader};
use crate::{
    config::LedgerAccess,
    ledger::fingerprint_key,
    postgres::{Failure, FailureKind},
};

impl LedgerReader {
    /// Returns the user that was found for a login ID in this project. The ledger has a keyed digest of it;
    /// `None` also if this role may not read the key.
    ///
    /// # Errors
    /// If the database does not answer, or the pepper changed.
    pub async fn user_with_login_id(
        &mut self,
        access: &LedgerAccess,
        project_id: &str,
        login_id: &str,
    ) -> Result<Option<String>, LedgerError> {
        let key = match fingerprint_key::fetch(&mut self.connection, access.ledger.pepper.as_ref()).await {
            Ok(Some(key)) => key,
            Ok(None)
            | Err(LedgerError::Database(Failure {
                kind: FailureKind::Permission,
                ..
            })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let digest = key.login_digest(project_id, login_id);
        let user = sqlx::query_scalar!(
            "select user_id from known_users where login_digest = $1",
            &digest.as_bytes()[..],
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(user)
    }
}
