//! Destinations: the place of a stored token, and the question for one.

use std::collections::BTreeSet;

use crate::simulator::rules::WithoutTenant;

/// The identity of a token: everything that distinguishes it from other tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The outbound app.
    pub app_id: String,
    /// The user; `None` for a tenant's own token.
    pub user_id: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// Distinguishes several tokens of one owner.
    pub external_identifier: Option<String>,
    /// Tokens of one owner that differ in scopes are separate tokens.
    pub scopes: BTreeSet<String>,
}

impl Destination {
    /// A user's token.
    pub fn user(app_id: impl Into<String>, user_id: impl Into<String>) -> Self {
        Self {
            app_id: app_id.into(),
            user_id: Some(user_id.into()),
            tenant_id: None,
            external_identifier: None,
            scopes: BTreeSet::new(),
        }
    }

    /// A tenant's own token.
    pub fn tenant(app_id: impl Into<String>, tenant_id: impl Into<String>) -> Self {
        Self {
            app_id: app_id.into(),
            user_id: None,
            tenant_id: Some(tenant_id.into()),
            external_identifier: None,
            scopes: BTreeSet::new(),
        }
    }

    /// The same within a tenant.
    #[must_use]
    pub fn in_tenant(self, tenant_id: impl Into<String>) -> Self {
        Self {
            tenant_id: Some(tenant_id.into()),
            ..self
        }
    }

    /// The same with an external identifier.
    #[must_use]
    pub fn identified_by(self, external_identifier: impl Into<String>) -> Self {
        Self {
            external_identifier: Some(external_identifier.into()),
            ..self
        }
    }

    /// The same with scopes.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            ..self
        }
    }
}

/// The criteria of a fetch.
#[derive(Debug)]
pub(super) struct Wanted {
    /// App and owner; tenant and external identifier select where they are given.
    pub(super) destination: Destination,
    /// Exactly these scopes, or any.
    pub(super) scopes: Option<BTreeSet<String>>,
    /// The meaning of a user without a tenant.
    pub(super) without_tenant: WithoutTenant,
}

impl Wanted {
    pub(super) fn finds(&self, stored: &Destination) -> bool {
        let Destination {
            app_id,
            user_id,
            tenant_id,
            external_identifier,
            scopes: _,
        } = &self.destination;
        let of_tenant = match (tenant_id, self.without_tenant) {
            (None, WithoutTenant::NewestOfAll) => true,
            (None, WithoutTenant::TenantlessOnly) | (Some(_), _) => *tenant_id == stored.tenant_id,
        };
        *app_id == stored.app_id
            && *user_id == stored.user_id
            && of_tenant
            && (external_identifier.is_none() || *external_identifier == stored.external_identifier)
            && self.scopes.as_ref().is_none_or(|scopes| *scopes == stored.scopes)
    }
}
