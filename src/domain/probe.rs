//! A probe: the request that reads a token back.

use serde::{Deserialize, Serialize};

use super::{Destination, ScopeSet, Subject};

/// The token to read back, and whether its refresh token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The kind of owner, which selects the endpoints.
    pub subject: Subject,
    /// The outbound app.
    pub app_id: String,
    /// The user of a user token.
    pub user_id: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// Distinguishes several connections of one owner.
    pub external_identifier: Option<String>,
    /// Distinguish several tokens of one owner.
    #[serde(default)]
    pub scopes: ScopeSet,
    /// Asks for the refresh token as well.
    pub with_refresh_token: bool,
}

impl Probe {
    /// Builds the probe for a destination.
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
