//! Tokens of social logins, which Descope itself stores.

use serde::Deserialize;

use super::{Client, LookupOutcome, lookup_response::USER_NOT_FOUND};
use crate::{metrics::Purpose, secret::Secret};

const PROVIDER_TOKEN: &str = "v1/mgmt/user/provider/token";

/// A provider token that Descope stores, with an access token, a refresh token or both.
#[derive(Debug, Clone)]
pub struct ProviderToken {
    /// The access token.
    pub access_token: Option<Secret>,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// Expiry of the access token in seconds since 1970, if known.
    pub expires_at: Option<i64>,
    /// The granted scopes; empty if unknown.
    pub scopes: Vec<String>,
}

/// The result of fetching a provider token.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Wire")]
pub enum ProviderTokenResult {
    /// The user has one.
    Token(ProviderToken),
    /// The user exists and has no token.
    Nothing,
    /// The user does not exist.
    NoUser,
}

/// The response. Every field is optional in the public reference; an object with none of them is not this
/// response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    provider: Option<String>,
    provider_user_id: Option<String>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    expiration: Option<Seconds>,
    scopes: Option<Vec<String>>,
}

/// A number, which may be encoded as a text, as 64-bit numbers are.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl TryFrom<Wire> for ProviderTokenResult {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let any = wire.provider.is_some()
            || wire.provider_user_id.is_some()
            || wire.access_token.is_some()
            || wire.refresh_token.is_some()
            || wire.expiration.is_some()
            || wire.scopes.is_some();
        if !any {
            return Err("not a response about a provider token");
        }
        let filled = |secret: Option<Secret>| secret.filter(|secret| !secret.reveal().is_empty());
        let token = ProviderToken {
            access_token: filled(wire.access_token),
            refresh_token: filled(wire.refresh_token),
            expires_at: match wire.expiration {
                Some(Seconds::Number(seconds)) => Some(seconds),
                Some(Seconds::Text(text)) => text.parse().ok(),
                None => None,
            }
            .filter(|&seconds| seconds > 0),
            scopes: wire.scopes.unwrap_or_default(),
        };
        Ok(if token.access_token.is_none() && token.refresh_token.is_none() {
            Self::Nothing
        } else {
            Self::Token(token)
        })
    }
}

impl Client {
    /// Fetches the token that Descope stores for the social login of this user with a provider, including its
    /// refresh token. With `force_refresh` the provider renews it first.
    ///
    /// The code for a user without a token is not published: any "not found" that is not about the user
    /// counts as that.
    pub async fn provider_token(
        &self,
        login_id: &str,
        provider: &str,
        force_refresh: bool,
    ) -> LookupOutcome<ProviderTokenResult> {
        let mut url = self.url(PROVIDER_TOKEN);
        url.query_pairs_mut()
            .append_pair("loginId", login_id)
            .append_pair("provider", provider)
            .append_pair("withRefreshToken", "true")
            .append_pair("forceRefresh", if force_refresh { "true" } else { "false" });
        let absent = |code: &str| {
            LookupOutcome::Found(if USER_NOT_FOUND.contains(&code) {
                ProviderTokenResult::NoUser
            } else {
                ProviderTokenResult::Nothing
            })
        };
        self.ask_or(Purpose::Lookup, self.http().get(url), absent).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: &str) -> ProviderTokenResult {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn an_expiration_is_a_number_or_a_text_and_zero_is_none() {
        for (expiration, expected) in [
            ("1790000000", Some(1_790_000_000)),
            ("\"1790000000\"", Some(1_790_000_000)),
            ("0", None),
            ("\"0\"", None),
            ("\"soon\"", None),
            ("null", None),
        ] {
            let body = format!(r#"{{"accessToken":"s3cr3t","expiration":{expiration},"provider":"google"}}"#);
            let ProviderTokenResult::Token(token) = kept(&body) else {
                panic!("{expiration}")
            };
            assert_eq!(token.expires_at, expected, "{expiration}");
            assert!(!format!("{token:?}").contains("s3cr3t"));
        }
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        for body in [
            r#"{"provider":"google"}"#,
            r#"{"accessToken":"","refreshToken":null,"scopes":["a"]}"#,
        ] {
            assert!(matches!(kept(body), ProviderTokenResult::Nothing), "{body}");
        }
        for body in ["{}", r#"{"message":"Forbidden"}"#, r#"{"token":null}"#] {
            assert!(
                serde_json::from_str::<ProviderTokenResult>(body).is_err(),
                "{body}"
            );
        }
        assert!(matches!(
            kept(r#"{"refreshToken":"r"}"#),
            ProviderTokenResult::Token(_)
        ));
    }
}
