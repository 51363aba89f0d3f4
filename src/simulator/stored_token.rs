//! Stored tokens, and their refresh at a provider.

use crate::{
    secret::Secret,
    simulator::{destination::Destination, rules::Rules},
};

/// A token that was committed.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The token's ID.
    pub id: String,
    /// Its destination.
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
    /// The grantor of the token.
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

    pub(super) fn has_expired(&self, now: i64) -> bool {
        self.access_token_expiry != 0 && i64::from(self.access_token_expiry) <= now
    }

    /// Tells whether a fetch refreshes it. An expired token is always refreshed.
    pub(super) fn is_due(&self, rules: &Rules, force_refresh: bool, now: i64) -> bool {
        let lacks_access_token = self.access_token.is_none() && rules.refreshes_without_access_token;
        self.refresh_token.is_some() && (force_refresh || self.has_expired(now) || lacks_access_token)
    }

    /// Replaces the token by the provider's new one, or records the provider's error.
    pub(super) fn refresh(&mut self, rules: &Rules, nth: u64, now: i64) {
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

/// The lifetime of a refreshed access token, in seconds.
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
