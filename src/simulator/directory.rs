//! The directory: apps, users and tenants that exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::secret::Secret;

/// A user. Made from an ID alone, it is enabled and has no login ID.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The ID that tokens are uploaded for.
    pub user_id: String,
    /// The login IDs: e-mail addresses, phone numbers, names.
    #[serde(default)]
    pub login_ids: Vec<String>,
    /// The e-mail address, whether it is a login ID or not.
    pub email: Option<String>,
    /// The user's status.
    #[serde(default)]
    pub status: UserStatus,
    /// A test user: a search leaves it out unless asked for it.
    #[serde(default)]
    pub test: bool,
    /// The tokens that are kept of the user's social logins, by the provider's name.
    #[serde(default)]
    pub provider_tokens: BTreeMap<String, ProviderToken>,
}

impl User {
    /// The same user with one login ID more.
    #[must_use]
    pub fn with_login_id(mut self, login_id: impl Into<String>) -> Self {
        self.login_ids.push(login_id.into());
        self
    }

    /// The same user with a token that is kept of a social login.
    #[must_use]
    pub fn with_provider_token(mut self, provider: impl Into<String>, token: ProviderToken) -> Self {
        self.provider_tokens.insert(provider.into(), token);
        self
    }

    /// The same user with another status.
    #[must_use]
    pub fn with_status(self, status: UserStatus) -> Self {
        Self { status, ..self }
    }
}

impl<T: Into<String>> From<T> for User {
    fn from(user_id: T) -> Self {
        Self {
            user_id: user_id.into(),
            login_ids: Vec::new(),
            email: None,
            status: UserStatus::Enabled,
            test: false,
            provider_tokens: BTreeMap::new(),
        }
    }
}

/// The status of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// The user may.
    #[default]
    Enabled,
    /// The user may not, until someone allows it again.
    Disabled,
    /// The user has not signed in yet.
    Invited,
}

impl UserStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Invited => "invited",
        }
    }
}

/// An outbound app. Made from an ID alone, it is one for OAuth.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// The ID that tokens are uploaded for.
    pub id: String,
    /// The `appType` of answers: `oauth` or `apikey`. Without one, answers leave the field out.
    #[serde(default = "oauth")]
    pub app_type: Option<String>,
}

impl App {
    /// The same app with another type, or without any.
    #[must_use]
    pub fn with_type(self, app_type: Option<&str>) -> Self {
        Self {
            app_type: app_type.map(Into::into),
            ..self
        }
    }

    pub(super) fn holds_api_keys(&self) -> bool {
        self.app_type.as_deref() == Some("apikey")
    }
}

impl<T: Into<String>> From<T> for App {
    fn from(id: T) -> Self {
        Self {
            id: id.into(),
            app_type: oauth(),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the field's default")]
fn oauth() -> Option<String> {
    Some("oauth".to_owned())
}

/// The apps, users and tenants that exist. If nothing is listed, everything exists: every ID is found, a
/// login ID belongs to the user whose ID is the same text, and lists of everything are empty.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    apps: Option<BTreeMap<String, App>>,
    users: Option<Users>,
    tenants: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, Default)]
struct Users {
    by_id: BTreeMap<String, User>,
    /// User IDs by login ID in lower case.
    by_login_id: HashMap<String, BTreeSet<String>>,
}

impl Directory {
    /// The apps that exist from now on.
    pub fn set_apps<A: Into<App>>(&mut self, apps: impl IntoIterator<Item = A>) {
        let apps = apps.into_iter().map(Into::into);
        self.apps = Some(apps.map(|app| (app.id.clone(), app)).collect());
    }

    /// The users that exist from now on. Two may share a login ID, as they do where a project's rules
    /// changed.
    pub fn set_users<U: Into<User>>(&mut self, users: impl IntoIterator<Item = U>) {
        let mut known = Users::default();
        for user in users.into_iter().map(Into::into) {
            for login_id in &user.login_ids {
                let holders = known.by_login_id.entry(login_id.to_lowercase()).or_default();
                holders.insert(user.user_id.clone());
            }
            known.by_id.insert(user.user_id.clone(), user);
        }
        self.users = Some(known);
    }

    /// The tenants that exist from now on.
    pub fn set_tenants<T: Into<String>>(&mut self, tenants: impl IntoIterator<Item = T>) {
        self.tenants = Some(tenants.into_iter().map(Into::into).collect());
    }

    pub(super) fn app(&self, id: &str) -> Option<App> {
        match &self.apps {
            None => Some(App::from(id)),
            Some(apps) => apps.get(id).cloned(),
        }
    }

    pub(super) fn apps(&self) -> Vec<App> {
        self.apps.iter().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(super) fn has_tenant(&self, id: &str) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(id))
    }

    pub(super) fn tenants(&self) -> Vec<String> {
        self.tenants.iter().flatten().cloned().collect()
    }

    pub(super) fn user(&self, user_id: &str) -> Option<User> {
        match &self.users {
            None => Some(User::from(user_id)),
            Some(users) => users.by_id.get(user_id).cloned(),
        }
    }

    /// The users with this login ID, whatever its letter case or only in the same one, by their IDs.
    pub(super) fn users_with_login_id(&self, login_id: &str, any_case: bool) -> Vec<User> {
        let Some(users) = &self.users else {
            return vec![User::from(login_id).with_login_id(login_id)];
        };
        let holders = users.by_login_id.get(&login_id.to_lowercase());
        let holders = holders.into_iter().flatten().filter_map(|id| users.by_id.get(id));
        holders
            .filter(|user| any_case || user.login_ids.iter().any(|own| own == login_id))
            .cloned()
            .collect()
    }

    /// Tells whether only listed users exist.
    pub(super) fn lists_users(&self) -> bool {
        self.users.is_some()
    }

    pub(super) fn users(&self) -> Vec<User> {
        let users = self.users.iter().flat_map(|users| users.by_id.values());
        users.cloned().collect()
    }
}

/// A token that is kept of a social login.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderToken {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token; only handed out to who asks for it.
    pub refresh_token: Option<Secret>,
    /// When the access token expires, in epoch seconds; 0 if unknown.
    #[serde(default)]
    pub expiration: i64,
    /// The granted scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The user's ID at the provider.
    #[serde(default)]
    pub provider_user_id: String,
}

impl ProviderToken {
    /// An access token that never expires.
    #[must_use]
    pub fn new(access_token: impl Into<String>) -> Self {
        Self {
            access_token: Secret::new(access_token),
            refresh_token: None,
            expiration: 0,
            scopes: Vec::new(),
            provider_user_id: String::new(),
        }
    }

    /// The same with a refresh token.
    #[must_use]
    pub fn with_refresh_token(self, refresh_token: impl Into<String>) -> Self {
        Self {
            refresh_token: Some(Secret::new(refresh_token)),
            ..self
        }
    }

    /// The same with an expiry, in epoch seconds.
    #[must_use]
    pub fn expiring_at(self, expiration: i64) -> Self {
        Self { expiration, ..self }
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
