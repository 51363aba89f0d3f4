//! Which token of a batch speaks for all of it.

use super::{Destination, Subject};

/// Which token is read back, and by which of its values it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// No access token was sent, so the refresh token is compared.
    pub by_refresh_token: bool,
}

impl Probe {
    /// The question for what is at a destination.
    #[must_use]
    pub fn new(destination: &Destination, by_refresh_token: bool) -> Self {
        Self {
            subject: destination.subject,
            app_id: destination.app_id.clone(),
            user_id: destination.user_id.clone(),
            tenant_id: destination.tenant_id.clone(),
            external_identifier: destination.external_identifier.clone(),
            by_refresh_token,
        }
    }
}
