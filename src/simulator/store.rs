//! The store: committed tokens, and counts of writes, verifications and refreshes per destination.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::simulator::{
    destination::{Destination, Wanted},
    rules::{OnRepeat, Rules},
    stored_token::{Content, StoredToken},
};

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
