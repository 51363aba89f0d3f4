//! A token as the API shows it, and its comparison with the token that was sent.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::{
    domain::{Difference, EncodedToken, Probe, ScopeSet, Verdict},
    secret::Secret,
};

/// Allowed difference between the clocks of the database of the ledger and of the API, in seconds.
const SKEW_SECONDS: i64 = 60;

/// Times beyond the year 5000 are milliseconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// The latest token of an app and a user or tenant. All fields but the token itself are documented as
/// optional, or not documented: a missing field is unknown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredToken {
    /// The ID by which it is deleted.
    #[serde(default, deserialize_with = "filled")]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    app_id: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    user_id: Option<String>,
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    has_refresh_token: Option<bool>,
    /// In seconds since 1970; 0 if Descope does not know it.
    #[serde(default, deserialize_with = "time")]
    pub(super) access_token_expiry: Option<i64>,
    #[serde(default, deserialize_with = "filled")]
    pub(super) access_token_type: Option<String>,
    /// In seconds since 1970; 0 if there was none.
    #[serde(default, deserialize_with = "time")]
    last_refresh_time: Option<i64>,
    /// True if the last refresh at the provider failed. The text of the provider may repeat anything, and is
    /// not kept.
    #[serde(default, rename = "lastRefreshError", deserialize_with = "is_filled")]
    last_refresh_failed: bool,
    scopes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "filled")]
    tenant_id: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    external_identifier: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    pub(super) granted_by: Option<String>,
    /// True if it was found by exactly the requested scopes, in whatever form they are shown.
    #[serde(skip)]
    pub(super) found_by_scopes: bool,
}

/// Parses a text. An empty one counts as missing.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    filled(deserializer).map(|text| text.is_some())
}

/// Parses a time in any form that a gateway writes: a number of seconds, the same as a text (as 64-bit
/// numbers are encoded), or RFC 3339. Any other value counts as missing: it must not make the response
/// unreadable, and is not a difference.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Whole(i64),
        Fraction(f64),
        Text(String),
        Other(IgnoredAny),
    }
    let seconds = match Option::<Time>::deserialize(deserializer)? {
        None | Some(Time::Other(_)) => None,
        Some(Time::Whole(number)) => Some(number),
        Some(Time::Fraction(number)) => whole(number),
        Some(Time::Text(text)) => {
            let text = text.trim();
            let number = || text.parse().ok().and_then(whole);
            let date = || Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp());
            text.parse().ok().or_else(date).or_else(number)
        }
    };
    Ok(seconds.map(|seconds| match seconds {
        // Unset. Go writes the year 1.
        ..=0 => 0,
        MILLISECONDS_FROM.. => seconds / 1000,
        _ => seconds,
    }))
}

fn whole(number: f64) -> Option<i64> {
    let whole = number.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "it was just checked that it fits")]
    (whole.abs() < 1e15).then_some(whole as i64)
}

/// The fields of a sent token that are compared.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentToken {
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    access_token_expiry: Option<i64>,
    access_token_type: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    granted_by: Option<String>,
}

impl StoredToken {
    /// Returns true if it is at the requested destination. A missing field counts as equal, because it is
    /// documented as optional.
    #[must_use]
    pub fn is_of(&self, probe: &Probe) -> bool {
        let same = |asked: &Option<String>, found: &Option<String>| found.is_none() || asked == found;
        same(&probe.tenant_id, &self.tenant_id) && same(&probe.external_identifier, &self.external_identifier)
    }

    /// Returns true if any field shows that this is a token.
    pub(super) fn shows_something(&self) -> bool {
        let secrets = [&self.access_token, &self.refresh_token];
        self.id.is_some()
            || self.has_refresh_token.is_some()
            || secrets
                .into_iter()
                .flatten()
                .any(|secret| !secret.reveal().is_empty())
    }

    /// Returns true if it has the requested scopes. If none were requested, the API shows the latest token of
    /// the owner, which may be another one that has scopes: both may hold the same secrets.
    #[must_use]
    pub fn has_scopes_of(&self, probe: &Probe) -> bool {
        let shown = self.scopes.as_deref().unwrap_or_default();
        self.found_by_scopes || ScopeSet::from(shown.to_vec()) == probe.scopes
    }

    /// Returns true if it shows that it is at the requested destination, and at no other. Users do not differ
    /// in letter case alone.
    pub(super) fn stands_at(&self, probe: &Probe) -> bool {
        let same = |asked: &str, shown: &str| asked.to_lowercase() == shown.to_lowercase();
        let of_app = self.app_id.as_ref().is_none_or(|app| same(&probe.app_id, app));
        let of_user = match (&probe.user_id, &self.user_id) {
            (Some(asked), Some(shown)) => same(asked, shown),
            (Some(_) | None, None) => true,
            (None, Some(_)) => false,
        };
        of_app
            && of_user
            && probe.tenant_id == self.tenant_id
            && probe.external_identifier == self.external_identifier
    }

    /// Returns the differences from the token that was sent, including every secret that is shown. `None` if
    /// no secret could be compared and nothing differs.
    pub(super) fn strict_differences(&self, encoded: &EncodedToken) -> Option<Vec<Difference>> {
        let sent: SentToken = serde_json::from_slice(encoded.reveal()).ok()?;
        let mut found = self.differences(&sent);
        let mut any_compared = false;
        for (sent, shown, difference) in [
            (&sent.access_token, &self.access_token, Difference::AccessToken),
            (&sent.refresh_token, &self.refresh_token, Difference::RefreshToken),
        ] {
            let shown = shown
                .as_ref()
                .map(Secret::reveal)
                .filter(|shown| !shown.is_empty());
            let sent = sent.as_ref().map(Secret::reveal);
            any_compared |= sent.is_some() && shown.is_some();
            if shown.is_some() && shown != sent && !found.contains(&difference) {
                found.push(difference);
            }
        }
        (any_compared || !found.is_empty()).then_some(found)
    }

    /// Compares it with the token that was sent at `sent_at`, in seconds since 1970. Descope may fill in
    /// fields that were not sent.
    #[must_use]
    pub fn compare(&self, encoded: &EncodedToken, sent_at: i64) -> Verdict {
        let Ok(sent) = serde_json::from_slice::<SentToken>(encoded.reveal()) else {
            // This program's own encoding can always be read.
            return Verdict::NotTaken("not_encoded".to_owned());
        };
        self.verdict_of(self.differences(&sent), sent_at)
    }

    /// Compares only the fields around the token, because the token itself is not known.
    #[must_use]
    pub fn compare_around(&self, encoded: &EncodedToken, sent_at: i64) -> Verdict {
        let Ok(sent) = serde_json::from_slice::<SentToken>(encoded.reveal()) else {
            return Verdict::NotTaken("not_encoded".to_owned());
        };
        let mut differences = self.differences(&sent);
        differences.retain(|difference| !difference.is_of_the_token());
        match self.verdict_of(differences, sent_at) {
            Verdict::Equal | Verdict::Refreshed => Verdict::NotInSource,
            other => other,
        }
    }

    fn verdict_of(&self, mut differences: Vec<Difference>, sent_at: i64) -> Verdict {
        let as_sent = if differences.is_empty() {
            Verdict::Equal
        } else {
            Verdict::Refreshed
        };
        if self.refreshed_since(sent_at) {
            differences.retain(|difference| !difference.is_from_refresh());
        }
        // This counts even if nothing differs: the token is stored but does not work.
        if self.last_refresh_failed {
            differences.push(Difference::RefreshFailed);
        }
        if differences.is_empty() {
            as_sent
        } else {
            Verdict::Different(differences)
        }
    }

    fn differences(&self, sent: &SentToken) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut note = |differs, difference| {
            if differs {
                found.push(difference);
            }
        };
        let held =
            |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| !secret.reveal().is_empty());
        let has_refresh_token = self
            .has_refresh_token
            .or_else(|| held(&self.refresh_token).then_some(true));
        match (&sent.access_token, &sent.refresh_token) {
            (Some(access), _) => note(
                self.access_token.as_ref().map(Secret::reveal) != Some(access.reveal()),
                Difference::AccessToken,
            ),
            // The refresh token was requested. If it is not shown, its absence is checked below.
            (None, Some(refresh)) if held(&self.refresh_token) => note(
                self.refresh_token.as_ref().map(Secret::reveal) != Some(refresh.reveal()),
                Difference::RefreshToken,
            ),
            (None, _) => {}
        }
        match (sent.refresh_token.is_some(), has_refresh_token) {
            (true, Some(false)) => note(true, Difference::RefreshTokenLost),
            (false, Some(true)) => note(true, Difference::RefreshTokenAdded),
            _ => {}
        }
        // 0 means "unknown" on both sides. An expiry that is missing, or in an unknown form, is not a
        // difference.
        if let (Some(expiry), Some(shown)) = (sent.access_token_expiry, self.access_token_expiry) {
            note(expiry != 0 && shown != expiry, Difference::Expiry);
        }
        if let Some(sent) = &sent.access_token_type {
            // RFC 6749, 7.1: the letter case of a type does not matter.
            let same = self
                .access_token_type
                .as_ref()
                .is_some_and(|held| held.eq_ignore_ascii_case(sent));
            note(!same, Difference::Type);
        }
        if !sent.scopes.is_empty() {
            let held: BTreeSet<&String> = self.scopes.iter().flatten().collect();
            note(held != sent.scopes.iter().collect(), Difference::Scopes);
        }
        if sent.granted_by.is_some() {
            note(self.granted_by != sent.granted_by, Difference::GrantedBy);
        }
        found
    }

    /// Returns true if the server has refreshed it since it was sent.
    pub(super) fn refreshed_since(&self, sent_at: i64) -> bool {
        self.last_refresh_time
            .is_some_and(|at| at > 0 && at + SKEW_SECONDS >= sent_at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SENT_AT: i64 = 1_700_000_000;

    fn sent() -> Value {
        json!({"appId": "a", "userId": "u", "accessToken": "at", "refreshToken": "rt", "accessTokenExpiry": 1_800_000_000,
               "accessTokenType": "bearer", "scopes": ["x", "y"], "grantedBy": "admin"})
    }

    fn held() -> Value {
        json!({"id": "1", "accessToken": "at", "hasRefreshToken": true, "accessTokenExpiry": "1800000000",
               "accessTokenType": "Bearer", "scopes": ["y", "x"], "grantedBy": "admin", "lastRefreshTime": "0"})
    }

    fn compared(sent: &Value, held: &Value) -> Verdict {
        let held: StoredToken = serde_json::from_value(held.clone()).unwrap();
        held.compare(&EncodedToken::new(sent.to_string().into_bytes()), SENT_AT)
    }

    fn with(mut token: Value, field: &str, value: Value) -> Value {
        token[field] = value;
        token
    }

    #[test]
    fn each_field_is_held_against_its_own() {
        assert_eq!(compared(&sent(), &held()), Verdict::Equal);
        for (field, value, difference) in [
            ("accessToken", json!("other"), Difference::AccessToken),
            ("accessToken", json!(null), Difference::AccessToken),
            ("hasRefreshToken", json!(false), Difference::RefreshTokenLost),
            ("accessTokenExpiry", json!(1_800_000_001), Difference::Expiry),
            ("accessTokenExpiry", json!("0"), Difference::Expiry),
            (
                "accessTokenExpiry",
                json!("2027-01-15T08:00:01Z"),
                Difference::Expiry,
            ),
            (
                "accessTokenExpiry",
                json!("0001-01-01T00:00:00Z"),
                Difference::Expiry,
            ),
            (
                "lastRefreshError",
                json!("invalid_grant"),
                Difference::RefreshFailed,
            ),
            ("accessTokenType", json!("mac"), Difference::Type),
            ("scopes", json!(["x"]), Difference::Scopes),
            ("scopes", json!(null), Difference::Scopes),
            ("grantedBy", json!("someone"), Difference::GrantedBy),
            ("grantedBy", json!(""), Difference::GrantedBy),
        ] {
            let verdict = compared(&sent(), &with(held(), field, value.clone()));
            assert_eq!(verdict, Verdict::Different(vec![difference]), "{field} {value}");
        }
    }

    #[test]
    fn an_expiry_is_read_in_every_form_and_in_none_it_is_not_shown() {
        for shown in [
            json!(1_800_000_000),
            json!(1_800_000_000.0),
            json!(1_800_000_000_000_i64),
            json!("1800000000"),
            json!("1800000000.5"),
            json!("2027-01-15T08:00:00Z"),
            json!("2027-01-15T08:00:00.999Z"),
            json!("2027-01-15T10:00:00+02:00"),
            json!(null),
            json!(""),
            json!("soon"),
            json!(true),
            json!({"seconds": 7}),
            json!([7]),
            json!(1e300),
            json!("NaN"),
        ] {
            let held = with(held(), "accessTokenExpiry", shown.clone());
            assert_eq!(compared(&sent(), &held), Verdict::Equal, "{shown}");
        }
    }

    #[test]
    fn a_refresh_that_failed_is_told_beside_whatever_differs() {
        let failed = with(held(), "lastRefreshError", json!("invalid_grant s3cr3t"));
        assert_eq!(
            compared(&sent(), &with(failed.clone(), "accessToken", json!("other"))),
            Verdict::Different(vec![Difference::AccessToken, Difference::RefreshFailed])
        );
        let since = with(failed.clone(), "lastRefreshTime", json!("2023-11-14T22:13:25Z"));
        assert_eq!(
            compared(&sent(), &with(since, "accessToken", json!("other"))),
            Verdict::Different(vec![Difference::RefreshFailed])
        );
        let held: StoredToken = serde_json::from_value(failed).unwrap();
        let sent = EncodedToken::new(sent().to_string().into_bytes());
        let Verdict::Different(around) = held.compare_around(&sent, SENT_AT) else {
            panic!("nothing was said")
        };
        assert_eq!(around, [Difference::RefreshFailed]);
        let said = held.compare(&sent, SENT_AT).findings();
        assert!(!format!("{said:?}").contains("s3cr3t"), "{said:?}");
    }

    #[test]
    fn what_was_not_sent_is_not_compared_but_a_refresh_token_is() {
        let sent = json!({"appId": "a", "userId": "u", "accessToken": "at"});
        let held = with(held(), "hasRefreshToken", json!(false));
        assert_eq!(compared(&sent, &held), Verdict::Equal);
        assert_eq!(
            compared(&sent, &with(held.clone(), "hasRefreshToken", json!(true))),
            Verdict::Different(vec![Difference::RefreshTokenAdded])
        );
        let silent = json!({"accessToken": "at"});
        assert_eq!(
            compared(&sent, &silent),
            Verdict::Equal,
            "an answer of nothing but the token"
        );
    }

    #[test]
    fn a_refresh_token_alone_is_compared_where_it_is_shown() {
        let sent = json!({"appId": "a", "userId": "u", "refreshToken": "rt"});
        for (shown, expected) in [
            (
                json!({"hasRefreshToken": true, "refreshToken": "rt"}),
                Verdict::Equal,
            ),
            (json!({"hasRefreshToken": true}), Verdict::Equal),
            (
                json!({"hasRefreshToken": true, "refreshToken": "other"}),
                Verdict::Different(vec![Difference::RefreshToken]),
            ),
            (
                json!({"hasRefreshToken": false}),
                Verdict::Different(vec![Difference::RefreshTokenLost]),
            ),
        ] {
            assert_eq!(compared(&sent, &shown), expected, "{shown}");
        }
    }

    #[test]
    fn a_refresh_since_explains_what_a_refresh_changes_and_nothing_else() {
        let renewed = with(
            with(held(), "accessToken", json!("new")),
            "accessTokenExpiry",
            json!("1900000000"),
        );
        let at = |time: i64| with(renewed.clone(), "lastRefreshTime", json!(time.to_string()));
        assert_eq!(compared(&sent(), &at(SENT_AT + 5)), Verdict::Refreshed);
        assert_eq!(
            compared(&sent(), &at((SENT_AT + 5) * 1000)),
            Verdict::Refreshed,
            "in milliseconds"
        );
        assert_eq!(
            compared(&sent(), &at(SENT_AT - 5)),
            Verdict::Refreshed,
            "clocks differ a little"
        );
        let differs = Verdict::Different(vec![Difference::AccessToken, Difference::Expiry]);
        assert_eq!(
            compared(&sent(), &at(SENT_AT - 3600)),
            differs,
            "an earlier token was"
        );
        assert_eq!(compared(&sent(), &at(0)), differs);
        assert_eq!(
            compared(&sent(), &with(at(SENT_AT + 5), "grantedBy", json!("someone"))),
            Verdict::Different(vec![Difference::GrantedBy])
        );
        assert_eq!(
            compared(&sent(), &with(held(), "lastRefreshTime", json!(SENT_AT + 5))),
            Verdict::Equal
        );
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let held: StoredToken = serde_json::from_value(held()).unwrap();
        assert!(!format!("{held:?}").contains("\"at\""), "{held:?}");
    }
}
