//! Rules for what the real API's documentation leaves open.

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat};

use crate::secret::Secret;

/// The rules by which requests are judged. All of them can be changed while the simulator runs.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Users whose tokens are refused with `E112102`, known or not.
    pub refused_users: HashSet<String>,
    /// An access or refresh token that begins like this is refused with `E152110`.
    pub bad_token_prefix: Option<String>,
    /// A refresh token with this prefix is refused by its provider: when a single upload asks to verify it,
    /// and when a fetch refreshes the token. A batch does not ask, and is accepted.
    pub dead_refresh_prefix: Option<String>,
    /// The status that carries a non-empty `failures` list: 200, or 400.
    pub failures_status: u16,
    /// The most failures that one answer names; the list is incomplete when there are more.
    pub failures_at_once: Option<usize>,
    /// The effect of a second upload to the same destination.
    pub on_repeat: OnRepeat,
    /// The most tokens that a batch may hold.
    pub max_tokens: Option<usize>,
    /// The largest body of a batch, in bytes.
    pub max_bytes: Option<usize>,
    /// A batch is confirmed as a whole, but no more than its first tokens, this many, are stored.
    pub truncates_to: Option<usize>,
    /// The refusal of a batch above one of the two limits.
    pub too_large: TooLarge,
    /// The status that tells that a user is not there: 400, or 404.
    pub user_not_found_status: u16,
    /// The status that tells, with `E111504`, that there is no such token: 404 as documented, or 400.
    pub token_not_found_status: u16,
    /// The format of a fetched token's expiry.
    pub expiry_format: ExpiryFormat,
    /// The result of a fetch for a user without a tenant.
    pub without_tenant: WithoutTenant,
    /// A refresh gives a new refresh token and invalidates the old one.
    pub rotates_refresh_tokens: bool,
    /// The provider's error in response to every refresh. A refresh token with `dead_refresh_prefix` is
    /// refused anyway.
    pub refresh_error: Option<String>,
    /// A fetch also refreshes a token that has only a refresh token. Not published.
    pub refreshes_without_access_token: bool,
    /// Login IDs are found in any letter case. Not published, and it may depend on the kind of login ID.
    pub login_ids_in_any_case: bool,
    /// Providers without "Manage tokens from provider": their tokens are not returned.
    pub unmanaged_providers: HashSet<String>,
    /// The most IDs that one search or one bulk load may list. The API has such a limit, but does not publish
    /// it.
    pub max_listed: usize,
    /// The most users in one answer to a search. The default limit is 100 (public reference).
    pub max_search_limit: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            refused_users: HashSet::new(),
            bad_token_prefix: None,
            dead_refresh_prefix: None,
            failures_status: 200,
            failures_at_once: None,
            on_repeat: OnRepeat::default(),
            max_tokens: None,
            max_bytes: None,
            truncates_to: None,
            too_large: TooLarge::default(),
            user_not_found_status: 400,
            token_not_found_status: 404,
            expiry_format: ExpiryFormat::default(),
            without_tenant: WithoutTenant::default(),
            rotates_refresh_tokens: false,
            refresh_error: None,
            refreshes_without_access_token: false,
            login_ids_in_any_case: false,
            unmanaged_providers: HashSet::new(),
            max_listed: 100,
            max_search_limit: 100,
        }
    }
}

impl Rules {
    /// Returns the provider's error if it refuses a refresh.
    pub(super) fn refresh_error_of(&self, refresh_token: Option<&Secret>) -> Option<String> {
        let dead = self.dead_refresh_prefix.as_deref();
        let is_dead = refresh_token
            .zip(dead)
            .is_some_and(|(token, dead)| token.reveal().starts_with(dead));
        self.refresh_error
            .clone()
            .or_else(|| is_dead.then(|| "invalid_grant".to_owned()))
    }
}

/// The result of a fetch for a user without a tenant; gateway versions may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutTenant {
    /// The newest of all of the user's tokens, so that one may hide another.
    #[default]
    NewestOfAll,
    /// The user's token without a tenant; one in a tenant reads as not there.
    TenantlessOnly,
}

/// The effect of a second upload to the same destination; the real behaviour is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRepeat {
    /// The new token takes the old one's place and its ID.
    #[default]
    Replace,
    /// Both are kept; reading back finds the newer one.
    Add,
}

/// The format of a fetched token's expiry; gateway versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiryFormat {
    /// Seconds in a text, as 64-bit numbers are written.
    #[default]
    Text,
    /// Seconds.
    Number,
    /// A date; an unknown expiry is the empty text.
    Rfc3339,
    /// In a form that no client knows.
    Unknown,
}

impl ExpiryFormat {
    pub(super) fn write(self, seconds: i32) -> serde_json::Value {
        match self {
            Self::Text => seconds.to_string().into(),
            Self::Number => seconds.into(),
            Self::Rfc3339 if seconds == 0 => String::new().into(),
            Self::Rfc3339 => {
                let time = DateTime::from_timestamp(seconds.into(), 0).unwrap_or_default();
                time.to_rfc3339_opts(SecondsFormat::Secs, true).into()
            }
            Self::Unknown => serde_json::json!({"at": format!("T+{seconds}")}),
        }
    }
}

/// The refusal of a batch above a size limit; the real behaviour is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLarge {
    /// 413 without a Descope error body, as a gateway answers.
    #[default]
    PayloadTooLarge,
    /// 400 with `E011004`, as the application answers.
    InvalidArguments,
}
