//! Verified match: proves that a stored token is the one that was sent, which is required to delete it.

use serde::Deserialize;

use super::{Client, LookupOutcome, StoredToken};
use crate::{
    domain::{Difference, EncodedToken, Probe},
    metrics::Purpose,
};

/// Deletes one token by its ID. This program never calls the endpoint that deletes all tokens of an app or a
/// user (`…/outbound/user/tokens`).
const TOKEN: &str = "v1/mgmt/outbound/token";

/// A stored token that is exactly the one that was sent. Only [`StoredToken::recognise`] creates one, and
/// nothing else can be deleted.
#[derive(Debug)]
pub struct VerifiedMatch {
    id: String,
}

impl VerifiedMatch {
    /// Returns the ID of the token at Descope.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The reason why a stored token is not recognised as the one that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It has another destination, for example another tenant or external identifier.
    Another,
    /// The server has refreshed it since.
    Refreshed,
    /// These fields differ. If there are none, no secret was shown that could be compared.
    Different(Vec<Difference>),
    /// Its ID is not shown.
    Nameless,
}

impl StoredToken {
    /// Recognises it as the token that was sent at `sent_at`, in seconds since 1970. This is stricter than
    /// [`compare`](StoredToken::compare), because a recognised token is deleted. The destination must be
    /// shown as requested, including its scopes, even if none were sent. At least one secret must be shown.
    /// No secret that is shown, and no other field that was sent, may differ. The server must not have
    /// refreshed the token since.
    ///
    /// # Errors
    /// The first mismatch.
    pub fn recognise(
        &self,
        probe: &Probe,
        encoded: &EncodedToken,
        sent_at: i64,
    ) -> Result<VerifiedMatch, Mismatch> {
        if !self.stands_at(probe) {
            return Err(Mismatch::Another);
        }
        if self.refreshed_since(sent_at) {
            return Err(Mismatch::Refreshed);
        }
        if !self.has_scopes_of(probe) {
            return Err(Mismatch::Different(vec![Difference::Scopes]));
        }
        match self.strict_differences(encoded) {
            Some(differences) if differences.is_empty() => {}
            differences => return Err(Mismatch::Different(differences.unwrap_or_default())),
        }
        let id = self.id.clone().ok_or(Mismatch::Nameless)?;
        Ok(VerifiedMatch { id })
    }
}

/// The response `{}`. Any other object is not the response to a deletion, and does not show its outcome.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {}

impl Client {
    /// Deletes a token, once. If no response shows the outcome, the caller finds it out by a read-back.
    pub async fn delete(&self, token: &VerifiedMatch) -> LookupOutcome<()> {
        let mut url = self.url(TOKEN);
        url.query_pairs_mut().append_pair("id", &token.id);
        let outcome = self.ask::<Done>(Purpose::Removal, self.http().delete(url)).await;
        outcome.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{ScopeSet, Scopes, Subject};

    const SENT_AT: i64 = 1_700_000_000;

    fn probe() -> Probe {
        Probe {
            subject: Subject::User,
            app_id: "app".into(),
            user_id: Some("u".into()),
            tenant_id: Some("t".into()),
            external_identifier: None,
            scopes: ScopeSet::of(&Scopes::Listed(["x".to_owned()].into())),
            with_refresh_token: true,
        }
    }

    fn sent() -> Value {
        json!({"appId": "app", "userId": "u", "tenantId": "t", "accessToken": "at", "refreshToken": "rt",
               "accessTokenExpiry": 1_800_000_000, "scopes": ["x"], "grantedBy": "admin"})
    }

    fn held() -> Value {
        json!({"id": "17", "appId": "app", "userId": "U", "tenantId": "t", "accessToken": "at", "refreshToken": "rt",
               "hasRefreshToken": true, "accessTokenExpiry": "1800000000", "accessTokenType": "Bearer", "scopes": ["x"],
               "grantedBy": "admin", "lastRefreshTime": "0"})
    }

    fn recognised(probe: &Probe, sent: &Value, held: &Value) -> Result<String, Mismatch> {
        let held: StoredToken = serde_json::from_value(held.clone()).unwrap();
        let encoded = EncodedToken::new(sent.to_string().into_bytes());
        held.recognise(probe, &encoded, SENT_AT)
            .map(|token| token.id().to_owned())
    }

    fn without(mut token: Value, field: &str) -> Value {
        token.as_object_mut().unwrap().remove(field);
        token
    }

    #[test]
    fn what_was_sent_is_recognised_and_nothing_that_differs_in_any_field() {
        assert_eq!(recognised(&probe(), &sent(), &held()), Ok("17".to_owned()));
        for (field, value, expected) in [
            ("tenantId", json!("other"), Mismatch::Another),
            ("tenantId", json!(null), Mismatch::Another),
            ("externalIdentifier", json!("x"), Mismatch::Another),
            ("appId", json!("other"), Mismatch::Another),
            ("userId", json!("other"), Mismatch::Another),
            ("id", json!(""), Mismatch::Nameless),
            (
                "lastRefreshTime",
                json!((SENT_AT + 1).to_string()),
                Mismatch::Refreshed,
            ),
            (
                "accessToken",
                json!("new"),
                Mismatch::Different(vec![Difference::AccessToken]),
            ),
            (
                "refreshToken",
                json!("new"),
                Mismatch::Different(vec![Difference::RefreshToken]),
            ),
            (
                "hasRefreshToken",
                json!(false),
                Mismatch::Different(vec![Difference::RefreshTokenLost]),
            ),
            (
                "accessTokenExpiry",
                json!("7"),
                Mismatch::Different(vec![Difference::Expiry]),
            ),
            (
                "scopes",
                json!(["x", "y"]),
                Mismatch::Different(vec![Difference::Scopes]),
            ),
            (
                "grantedBy",
                json!("someone"),
                Mismatch::Different(vec![Difference::GrantedBy]),
            ),
        ] {
            let mut held = held();
            held[field] = value;
            assert_eq!(recognised(&probe(), &sent(), &held), Err(expected), "{field}");
        }
    }

    #[test]
    fn without_a_secret_that_is_shown_nothing_is_recognised() {
        let sent = without(sent(), "accessToken");
        let held = without(held(), "accessToken");
        assert_eq!(recognised(&probe(), &sent, &held), Ok("17".to_owned()));
        let silent = without(held.clone(), "refreshToken");
        assert_eq!(
            recognised(&probe(), &sent, &silent),
            Err(Mismatch::Different(Vec::new()))
        );
        // This access token was never sent.
        let mut renewed = held;
        renewed["accessToken"] = json!("at");
        assert_eq!(
            recognised(&probe(), &sent, &renewed),
            Err(Mismatch::Different(vec![Difference::AccessToken]))
        );
    }

    #[test]
    fn a_tenants_own_token_is_no_users() {
        let probe = Probe {
            subject: Subject::Tenant,
            user_id: None,
            ..probe()
        };
        let sent = without(sent(), "userId");
        assert_eq!(recognised(&probe, &sent, &held()), Err(Mismatch::Another));
        assert_eq!(
            recognised(&probe, &sent, &without(held(), "userId")),
            Ok("17".to_owned())
        );
    }
}
