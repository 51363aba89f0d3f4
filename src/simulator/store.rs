//! The tokens that were committed, and how often each destination was written to, verified or refreshed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    secret::Secret,
    simulator::rules::{OnRepeat, Rules, WithoutTenant},
};

/// Where a token belongs: all that tells it from other tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The outbound app.
    pub app_id: String,
    /// The user; `None` for a tenant's own token.
    pub user_id: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// What tells several tokens of one owner apart.
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

/// What a fetch asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// App and owner; tenant and external identifier select where they are given.
    pub(super) destination: Destination,
    /// Exactly these scopes, or any.
    pub(super) scopes: Option<BTreeSet<String>>,
    /// What is meant by a user without a tenant.
    pub(super) without_tenant: WithoutTenant,
}

impl Wanted {
    fn finds(&self, stored: &Destination) -> bool {
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

/// A token that was committed.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The token's ID.
    pub id: String,
    /// Where it belongs.
    pub destination: Destination,
    /// The access token.
    pub access_token: Option<Secret>,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// The ID token.
    pub id_token: Option<Secret>,
    /// When the access token ends, in epoch seconds; 0 if unknown.
    pub access_token_expiry: i32,
    /// The access token's type as it was sent.
    pub access_token_type: Option<String>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// Who granted the token.
    pub granted_by: Option<String>,
    /// When it was refreshed at its provider, in epoch seconds; 0 if never.
    pub last_refresh_time: i64,
    /// Why the last refresh failed; empty if it did not.
    pub last_refresh_error: String,
}

impl StoredToken {
    /// The access token in the clear, for a comparison.
    #[must_use]
    pub fn exposed_access_token(&self) -> Option<&str> {
        self.access_token.as_ref().map(Secret::reveal)
    }

    /// The refresh token in the clear, for a comparison.
    #[must_use]
    pub fn exposed_refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::reveal)
    }

    /// The ID token in the clear, for a comparison.
    #[must_use]
    pub fn exposed_id_token(&self) -> Option<&str> {
        self.id_token.as_ref().map(Secret::reveal)
    }

    fn has_expired(&self, now: i64) -> bool {
        self.access_token_expiry != 0 && i64::from(self.access_token_expiry) <= now
    }

    /// Whether a fetch refreshes it: what has expired always, whatever was asked for.
    fn is_due(&self, rules: &Rules, force_refresh: bool, now: i64) -> bool {
        let lacks_access_token = self.access_token.is_none() && rules.refreshes_without_access_token;
        self.refresh_token.is_some() && (force_refresh || self.has_expired(now) || lacks_access_token)
    }

    /// What its provider gives for the refresh token, or that it gives nothing.
    fn refresh(&mut self, rules: &Rules, nth: u64, now: i64) {
        if let Some(error) = rules.refresh_error_of(self.refresh_token.as_ref()) {
            self.last_refresh_error = error;
            return;
        }
        let renewed =
            |token: Option<&str>| Secret::new(format!("{}-refreshed-{nth}", token.unwrap_or("access")));
        self.access_token = Some(renewed(self.exposed_access_token()));
        if rules.rotates_refresh_tokens {
            self.refresh_token = Some(renewed(self.exposed_refresh_token()));
        }
        self.access_token_expiry = i32::try_from(now + REFRESHED_FOR).unwrap_or(i32::MAX);
        self.last_refresh_time = now;
        self.last_refresh_error.clear();
    }
}

/// How long a refreshed access token lives, in seconds.
const REFRESHED_FOR: i64 = 3600;

/// All of an uploaded token that does not say where it belongs.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) id_token: Option<Secret>,
    pub(super) access_token_expiry: i32,
    pub(super) access_token_type: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) granted_by: Option<String>,
}

/// Grouped by app and owner, so that reading one token back does not pass over all of them.
type Owner = (String, Option<String>, Option<String>);

#[derive(Debug, Default)]
pub(super) struct Store {
    /// Each token with its place in the order of creation.
    tokens: HashMap<Owner, Vec<(u64, StoredToken)>>,
    writes: BTreeMap<Destination, u64>,
    verifies: BTreeMap<Destination, u64>,
    refreshes: BTreeMap<Destination, u64>,
    created: u64,
}

impl Store {
    pub(super) fn commit(&mut self, destination: Destination, content: Content, on_repeat: OnRepeat) {
        *self.writes.entry(destination.clone()).or_default() += 1;
        let owned = self.tokens.entry(owner(&destination)).or_default();
        let replaced = match on_repeat {
            OnRepeat::Replace => owned
                .iter()
                .position(|(_, token)| token.destination == destination),
            OnRepeat::Add => None,
        };
        self.created += 1;
        let id = match replaced {
            Some(index) => owned.remove(index).1.id,
            None => format!("token-{}", self.created),
        };
        owned.push((
            self.created,
            StoredToken {
                id,
                destination,
                access_token: content.access_token,
                refresh_token: content.refresh_token,
                id_token: content.id_token,
                access_token_expiry: content.access_token_expiry,
                access_token_type: content.access_token_type,
                scopes: content.scopes,
                granted_by: content.granted_by,
                last_refresh_time: 0,
                last_refresh_error: String::new(),
            },
        ));
    }

    /// The last created token that `wanted` finds.
    pub(super) fn latest(&self, wanted: &Wanted) -> Option<&StoredToken> {
        let owned = self.tokens.get(&owner(&wanted.destination))?;
        let mut newest_first = owned.iter().rev().map(|(_, token)| token);
        newest_first.find(|token| wanted.finds(&token.destination))
    }

    /// The same, refreshed at its provider if it has expired at `now` or if that is forced.
    pub(super) fn fetch(
        &mut self,
        wanted: &Wanted,
        rules: &Rules,
        force_refresh: bool,
        now: i64,
    ) -> Option<&StoredToken> {
        let owned = self.tokens.get_mut(&owner(&wanted.destination))?;
        let mut newest_first = owned.iter_mut().rev().map(|(_, token)| token);
        let token = newest_first.find(|token| wanted.finds(&token.destination))?;
        if token.is_due(rules, force_refresh, now) {
            let count = self.refreshes.entry(token.destination.clone()).or_default();
            *count += 1;
            token.refresh(rules, *count, now);
        }
        Some(token)
    }

    /// The apps that a user holds a token for that is valid at `now`, in one tenant or in any.
    pub(super) fn apps_with_token(
        &self,
        user_id: &str,
        tenant_id: Option<&str>,
        now: i64,
    ) -> BTreeSet<String> {
        let tokens = self.tokens.values().flatten().map(|(_, token)| token);
        tokens
            .filter(|token| {
                let Destination {
                    user_id: of_user,
                    tenant_id: of_tenant,
                    ..
                } = &token.destination;
                of_user.as_deref() == Some(user_id)
                    && (tenant_id.is_none() || of_tenant.as_deref() == tenant_id)
                    && token.access_token.is_some()
                    && !token.has_expired(now)
            })
            .map(|token| token.destination.app_id.clone())
            .collect()
    }

    /// Deletes one token, if there is one with this ID.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        let before = self.len();
        for owned in self.tokens.values_mut() {
            owned.retain(|(_, token)| token.id != id);
        }
        self.len() < before
    }

    /// Deletes all tokens of an app, of a user, or of a user for an app.
    pub(super) fn delete_all(&mut self, app_id: Option<&str>, user_id: Option<&str>) {
        self.tokens.retain(|(app, user, _), _| {
            let of_app = app_id.is_none_or(|wanted| wanted == app);
            let of_user = user_id.is_none_or(|wanted| user.as_deref() == Some(wanted));
            !(of_app && of_user)
        });
    }

    /// Every token in the order of creation.
    pub(super) fn all(&self) -> Vec<StoredToken> {
        let mut tokens: Vec<_> = self.tokens.values().flatten().collect();
        tokens.sort_by_key(|(created, _)| *created);
        tokens.into_iter().map(|(_, token)| token.clone()).collect()
    }

    /// Puts these in the place of every token.
    pub(super) fn set_all(&mut self, tokens: Vec<StoredToken>) {
        self.tokens.clear();
        for mut token in tokens {
            self.created += 1;
            // The token's own are the ones that tests change.
            token.destination.scopes = token.scopes.iter().cloned().collect();
            self.tokens
                .entry(owner(&token.destination))
                .or_default()
                .push((self.created, token));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.values().map(Vec::len).sum()
    }

    /// A refresh token was tried at its provider, whatever that said.
    pub(super) fn verified(&mut self, destination: Destination) {
        *self.verifies.entry(destination).or_default() += 1;
    }

    pub(super) fn verifies(&self) -> &BTreeMap<Destination, u64> {
        &self.verifies
    }

    pub(super) fn refreshes(&self) -> &BTreeMap<Destination, u64> {
        &self.refreshes
    }

    pub(super) fn writes(&self) -> &BTreeMap<Destination, u64> {
        &self.writes
    }
}

/// A user owns a token whatever its tenant; only a tenant's own token is grouped by tenant.
fn owner(destination: &Destination) -> Owner {
    let Destination {
        app_id,
        user_id,
        tenant_id,
        ..
    } = destination;
    let tenant_id = if user_id.is_some() {
        None
    } else {
        tenant_id.clone()
    };
    (app_id.clone(), user_id.clone(), tenant_id)
}
