//! Directory requests: users, apps and tenants. They change nothing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::{Client, LookupOutcome, lookup_response::list};
use crate::metrics::Purpose;

const APP: &str = "v1/mgmt/outbound/app";
const APPS: &str = "v1/mgmt/outbound/apps";
const TENANT: &str = "v1/mgmt/tenant";
const TENANTS: &str = "v1/mgmt/tenant/all";
const USER: &str = "v1/mgmt/user";
const USERS_LOAD: &str = "v1/mgmt/users/load";
const USERS_SEARCH: &str = "v2/mgmt/user/search";

/// The type of an outbound app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppType {
    /// The response does not name it.
    Unsaid,
    /// OAuth: the app accepts tokens.
    OAuth,
    /// Another type, as the API names it. The keys of an `apikey` app, for example, are uploaded one by one
    /// with a call that this program does not use.
    Other(String),
}

impl AppType {
    fn new(word: Option<String>) -> Self {
        match word.filter(|word| !word.trim().is_empty()) {
            None => Self::Unsaid,
            // Any spelling counts: "oauth", "OAuth2", "oauth-custom".
            Some(word) if word.to_lowercase().contains("oauth") => Self::OAuth,
            Some(word) => Self::Other(word.chars().filter(|c| !c.is_control()).take(40).collect()),
        }
    }
}

/// An outbound app. Its other fields, one of which is a client secret, are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its ID.
    pub id: String,
    /// Its type.
    pub app_type: AppType,
}

impl<'de> Deserialize<'de> for App {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            id: String,
            app_type: Option<String>,
        }
        let Wire { id, app_type } = Wire::deserialize(deserializer)?;
        Ok(Self {
            id,
            app_type: AppType::new(app_type),
        })
    }
}

/// The sign-in status of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    /// The user can sign in, or will be able to after a first sign-in.
    Active,
    /// The user cannot sign in until somebody enables the user again.
    Disabled,
    /// The response lists the ID with neither a status nor a login ID: such a user need not exist.
    Hollow,
}

/// The fields of a user that are used here. `Debug` shows no login ID.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The ID that tokens are uploaded for.
    pub id: String,
    /// The login IDs of the user.
    pub login_ids: Vec<String>,
    /// The sign-in status.
    pub status: UserStatus,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            user_id: String,
            login_ids: Option<Vec<String>>,
            status: Option<String>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let login_ids = wire.login_ids.unwrap_or_default();
        let status = match wire.status.as_deref().unwrap_or_default() {
            "disabled" => UserStatus::Disabled,
            "" if login_ids.is_empty() => UserStatus::Hollow,
            // "enabled", "invited", "expired" (an invitation), and unknown words.
            _ => UserStatus::Active,
        };
        Ok(Self {
            id: wire.user_id,
            login_ids,
            status,
        })
    }
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    /// The users.
    pub users: Vec<User>,
    /// Number of users on all pages, if the response has it.
    pub total: Option<u64>,
}

#[derive(Deserialize)]
struct AppAnswer {
    app: App,
}

#[derive(Deserialize)]
struct AppsAnswer {
    #[serde(deserialize_with = "list")]
    apps: Vec<App>,
}

#[derive(Deserialize)]
struct Tenant {
    id: String,
}

#[derive(Deserialize)]
struct TenantsAnswer {
    #[serde(deserialize_with = "list")]
    tenants: Vec<Tenant>,
}

#[derive(Deserialize)]
struct UserAnswer {
    user: User,
}

#[derive(Deserialize)]
struct UsersAnswer {
    #[serde(deserialize_with = "list")]
    users: Vec<User>,
    total: Option<Count>,
}

/// A number, which may be encoded as a text, as 64-bit numbers are.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl Count {
    fn get(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoadUsers<'a> {
    user_ids: &'a [&'a str],
    include_invalid_users: bool,
}

/// `limit` is at most 100 in the official tools; without one it is 100 (public reference).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SearchUsers<'a> {
    login_ids: &'a [&'a str],
    with_test_user: bool,
    limit: u32,
    page: u32,
}

impl Client {
    /// Maximum number of users on a page of a search.
    pub const SEARCH_LIMIT: u32 = 100;

    fn url_with(&self, path: &str, name: &str, value: &str) -> Url {
        let mut url = self.url(path);
        url.query_pairs_mut().append_pair(name, value);
        url
    }

    /// Fetches one outbound app.
    pub async fn app(&self, id: &str) -> LookupOutcome<App> {
        let mut url = self.url(APP);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(id);
        }
        let outcome = self.ask::<AppAnswer>(Purpose::Lookup, self.http().get(url)).await;
        outcome.map(|answer| answer.app).if_about(|app| app.id == id)
    }

    /// Fetches all outbound apps of the project.
    pub async fn apps(&self) -> LookupOutcome<Vec<App>> {
        let outcome = self
            .ask::<AppsAnswer>(Purpose::Lookup, self.http().get(self.url(APPS)))
            .await;
        outcome.map(|answer| answer.apps)
    }

    /// Checks that a tenant exists.
    pub async fn tenant(&self, id: &str) -> LookupOutcome<()> {
        let outcome = self
            .ask::<Tenant>(Purpose::Lookup, self.http().get(self.url_with(TENANT, "id", id)))
            .await;
        outcome.if_about(|tenant| tenant.id == id).map(drop)
    }

    /// Fetches the IDs of all tenants of the project.
    pub async fn tenants(&self) -> LookupOutcome<Vec<String>> {
        let outcome = self
            .ask::<TenantsAnswer>(Purpose::Lookup, self.http().get(self.url(TENANTS)))
            .await;
        outcome.map(|answer| {
            let tenants = answer.tenants.into_iter();
            tenants.map(|tenant| tenant.id).collect()
        })
    }

    /// Fetches the user with this login ID.
    pub async fn user_with_login_id(&self, login_id: &str) -> LookupOutcome<User> {
        let request = self.http().get(self.url_with(USER, "loginId", login_id));
        let outcome = self.ask::<UserAnswer>(Purpose::Lookup, request).await;
        outcome.map(|answer| answer.user)
    }

    /// Fetches the users with these IDs, including those who may not sign in. Users that do not exist are
    /// left out.
    pub async fn users(&self, user_ids: &[&str]) -> LookupOutcome<Vec<User>> {
        let body = LoadUsers {
            user_ids,
            include_invalid_users: true,
        };
        let outcome = self
            .ask::<UsersAnswer>(
                Purpose::Lookup,
                self.http().post(self.url(USERS_LOAD)).json(&body),
            )
            .await;
        outcome.map(|answer| answer.users)
    }

    /// Fetches a page, from 0, of the users with one of these login IDs, including test users.
    pub async fn search_users(&self, login_ids: &[&str], page: u32) -> LookupOutcome<UserPage> {
        let body = SearchUsers {
            login_ids,
            with_test_user: true,
            limit: Self::SEARCH_LIMIT,
            page,
        };
        let outcome = self
            .ask::<UsersAnswer>(
                Purpose::Lookup,
                self.http().post(self.url(USERS_SEARCH)).json(&body),
            )
            .await;
        outcome.map(|answer| UserPage {
            users: answer.users,
            total: answer.total.as_ref().and_then(Count::get),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_without_a_type_is_accepted_and_its_secret_is_not_read() {
        for (body, expected) in [
            (r#"{"id":"a"}"#, AppType::Unsaid),
            (r#"{"id":"a","appType":null}"#, AppType::Unsaid),
            (r#"{"id":"a","appType":""}"#, AppType::Unsaid),
            (
                r#"{"id":"a","appType":"oauth","clientSecret":"s3cr3t"}"#,
                AppType::OAuth,
            ),
            (r#"{"id":"a","appType":"OAuth2"}"#, AppType::OAuth),
            (
                r#"{"id":"a","appType":"apikey"}"#,
                AppType::Other("apikey".into()),
            ),
        ] {
            let app: App = serde_json::from_str(body).unwrap();
            assert_eq!(app.app_type, expected, "{body}");
            assert!(!format!("{app:?}").contains("s3cr3t"));
        }
    }

    #[test]
    fn every_form_of_user() {
        for (body, expected) in [
            (r#"{"userId":"u","status":"enabled"}"#, UserStatus::Active),
            (r#"{"userId":"u","status":"invited"}"#, UserStatus::Active),
            (r#"{"userId":"u","loginIds":["x"]}"#, UserStatus::Active),
            (r#"{"userId":"u","status":"disabled"}"#, UserStatus::Disabled),
            (
                r#"{"userId":"u","status":"","loginIds":null}"#,
                UserStatus::Hollow,
            ),
            (r#"{"userId":"u"}"#, UserStatus::Hollow),
        ] {
            let user: User = serde_json::from_str(body).unwrap();
            assert_eq!(user.status, expected, "{body}");
        }
        let user: User = serde_json::from_str(r#"{"userId":"u","loginIds":["alice@example.com"]}"#).unwrap();
        assert!(!format!("{user:?}").contains("alice"));
    }

    #[test]
    fn a_total_is_a_number_or_a_text() {
        for (body, expected) in [
            (r#"{"users":[],"total":7}"#, Some(7)),
            (r#"{"users":[],"total":"7"}"#, Some(7)),
            (r#"{"users":null}"#, None),
        ] {
            let answer: UsersAnswer = serde_json::from_str(body).unwrap();
            assert_eq!(answer.total.as_ref().and_then(Count::get), expected, "{body}");
        }
    }
}
