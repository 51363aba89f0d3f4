//! A probe: the question for what is at a destination.

use serde::{Deserialize, Serialize};

use super::{Destination, ScopeSet, Subject};

/// Which token is read back, and whether its refresh token is to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Which pair of endpoints has it.
    pub subject: Subject,
    /// The outbound app.
    pub app_id: String,
    /// The user of a user token.
    pub user_id: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// Tells several connections apart.
    pub external_identifier: Option<String>,
    /// Tell several tokens of one owner apart.
    #[serde(default)]
    pub scopes: ScopeSet,
    /// The refresh token is to be shown, too.
    pub with_refresh_token: bool,
}

impl Probe {
    /// The question for what is at a destination.
    #[must_use]
    pub fn new(destination: &Destination, with_refresh_token: bool) -> Self {
        Self {
            subject: destination.subject,
            app_id: destination.app_id.clone(),
            user_id: destination.user_id.clone(),
            tenant_id: destination.tenant_id.clone(),
            external_identifier: destination.external_identifier.clone(),
            scopes: destination.scopes.clone(),
            with_refresh_token,
        }
    }
}
