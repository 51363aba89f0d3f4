//! Verdict of a read-back: decides whether a stored token proves that an upload was stored.

use serde::Deserialize;

use super::{StoredToken, request_body::EncodedSecrets};
use crate::{
    domain::{Attributes, EncodedToken, Evidence, Probe, ScopeSet, Witness},
    secret::{Fingerprint, FingerprintKey, Secret},
};

/// The verdict of a stored token about the batch of its witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBackVerdict {
    /// It shows a value that cannot have been there before the batch was stored.
    Stored,
    /// It shows another value at the same destination.
    NotStored,
    /// Inconclusive: it is another token, or does not show the field that would prove something.
    Nothing,
}

/// Returns a token as a witness for its batch. The probe gets the scopes that were sent, because the scopes
/// of a token that was fetched from Descope are not part of its destination. `None` if this program cannot
/// read its own encoding.
#[must_use]
pub fn witness(
    mut probe: Probe,
    encoded: &EncodedToken,
    key: &FingerprintKey,
    evidence: Evidence,
) -> Option<Witness> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sent {
        access_token_expiry: Option<i64>,
        access_token_type: Option<String>,
        granted_by: Option<String>,
        #[serde(default)]
        scopes: Vec<String>,
    }
    let secrets = EncodedSecrets::of(encoded)?;
    let sent: Sent = serde_json::from_slice(encoded.reveal()).ok()?;
    probe.scopes = ScopeSet::from(sent.scopes);
    let digest = |secret: Option<Secret>| secret.map(|secret| key.value_digest(secret.reveal()));
    Some(Witness {
        probe,
        access: digest(secrets.access),
        refresh: digest(secrets.refresh),
        attributes: Attributes {
            expiry: sent.access_token_expiry,
            token_type: sent.access_token_type,
            granted_by: sent.granted_by,
        },
        evidence,
    })
}

impl StoredToken {
    /// Returns the verdict about a batch that was sent at `submitted_at`, in seconds since 1970.
    #[must_use]
    pub fn verdict(&self, witness: &Witness, key: &FingerprintKey, submitted_at: i64) -> ReadBackVerdict {
        if !self.is_of(&witness.probe) {
            return ReadBackVerdict::Nothing;
        }
        let Evidence {
            access,
            refresh,
            attributes,
            was_empty,
        } = witness.evidence;
        let same = |is_evidence: bool, shown: &Option<Secret>, sent: Option<Fingerprint>| {
            let shown = shown
                .as_ref()
                .filter(|shown| is_evidence && !shown.reveal().is_empty())?;
            Some(key.value_digest(shown.reveal()) == sent?)
        };
        let found = [
            same(access, &self.access_token, witness.access),
            same(refresh, &self.refresh_token, witness.refresh),
            self.shows(&witness.attributes).filter(|_| attributes),
        ];
        if !self.has_scopes_of(&witness.probe) {
            // This is another token of the same owner, which may hold the same secrets: it proves no upload.
            // If the probe has scopes, the fetch by scopes has found nothing. Otherwise the wanted token may
            // be hidden by this one.
            let is_absent = !witness.probe.scopes.is_empty()
                && !found.contains(&Some(true))
                && !self.refreshed_since(submitted_at);
            return if is_absent {
                ReadBackVerdict::NotStored
            } else {
                ReadBackVerdict::Nothing
            };
        }
        if found.contains(&Some(true)) {
            ReadBackVerdict::Stored
        } else if self.refreshed_since(submitted_at) {
            // A refresh has replaced the values that would prove it. If the destination was empty before, the
            // token can only be from the batch.
            if was_empty {
                ReadBackVerdict::Stored
            } else {
                ReadBackVerdict::Nothing
            }
        } else if found.contains(&Some(false)) {
            ReadBackVerdict::NotStored
        } else {
            ReadBackVerdict::Nothing
        }
    }

    /// Returns true if all these attributes are shown as they were sent, false if one differs, and `None` if
    /// one is not shown and none differs.
    fn shows(&self, sent: &Attributes) -> Option<bool> {
        let same_text =
            |shown: &Option<String>, sent: &str| shown.as_ref().map(|shown| shown.eq_ignore_ascii_case(sent));
        // 0 means "unknown", as if nothing was sent.
        let expiry = sent.expiry.filter(|&expiry| expiry != 0);
        let found = [
            expiry.map(|expiry| self.access_token_expiry.map(|shown| shown == expiry)),
            sent.token_type
                .as_deref()
                .map(|sent| same_text(&self.access_token_type, sent)),
            sent.granted_by
                .as_deref()
                .map(|sent| same_text(&self.granted_by, sent)),
        ];
        let found: Vec<Option<bool>> = found.into_iter().flatten().collect();
        match found {
            _ if found.contains(&Some(false)) => Some(false),
            _ if found.is_empty() || found.contains(&None) => None,
            _ => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::Subject;

    const SUBMITTED_AT: i64 = 1_700_000_000;

    fn key() -> FingerprintKey {
        FingerprintKey::new(&[3; 32], None)
    }

    fn said(evidence: Evidence, stored: Value) -> ReadBackVerdict {
        said_of(&[], false, evidence, stored)
    }

    fn said_of(scopes: &[&str], found_by_scopes: bool, evidence: Evidence, stored: Value) -> ReadBackVerdict {
        let sent = json!({"appId": "app", "userId": "u", "accessToken": "at2", "refreshToken": "rt", "scopes": scopes,
                          "accessTokenExpiry": 1_800_000_000, "accessTokenType": "bearer", "grantedBy": "admin"});
        let probe = Probe {
            subject: Subject::User,
            app_id: "app".into(),
            user_id: Some("u".into()),
            tenant_id: None,
            external_identifier: None,
            scopes: ScopeSet::default(),
            with_refresh_token: true,
        };
        let encoded = EncodedToken::new(sent.to_string().into_bytes());
        let witness = witness(probe, &encoded, &key(), evidence).unwrap();
        let mut stored: StoredToken = serde_json::from_value(stored).unwrap();
        stored.found_by_scopes = found_by_scopes;
        stored.verdict(&witness, &key(), SUBMITTED_AT)
    }

    const ACCESS: Evidence = Evidence {
        access: true,
        refresh: false,
        attributes: false,
        was_empty: false,
    };
    const NEW: Evidence = Evidence {
        access: true,
        refresh: true,
        attributes: false,
        was_empty: true,
    };
    const ATTRIBUTES: Evidence = Evidence {
        access: false,
        refresh: false,
        attributes: true,
        was_empty: false,
    };

    #[test]
    fn the_same_secrets_in_a_token_with_other_scopes_prove_nothing() {
        let (same, other) = (
            json!({"accessToken": "at2", "refreshToken": "rt", "scopes": ["b", "a"]}),
            json!({"accessToken": "x", "refreshToken": "y", "scopes": ["b", "a"]}),
        );
        let mut renewed = other.clone();
        renewed["lastRefreshTime"] = json!((SUBMITTED_AT + 100).to_string());
        let unsaid = json!({"accessToken": "at2"});
        for (scopes, by_scopes, stored, expected) in [
            (&["a", "b"][..], false, &same, ReadBackVerdict::Stored),
            (&["A", "B"], true, &same, ReadBackVerdict::Stored),
            // The fetch by scopes found nothing.
            (&["a"], false, &same, ReadBackVerdict::Nothing),
            (&["a"], false, &unsaid, ReadBackVerdict::Nothing),
            (&["a"], false, &other, ReadBackVerdict::NotStored),
            (&["a"], false, &renewed, ReadBackVerdict::Nothing),
            // The wanted token may be hidden by the one that is shown.
            (&[], false, &same, ReadBackVerdict::Nothing),
            (&[], false, &other, ReadBackVerdict::Nothing),
            (&[], false, &unsaid, ReadBackVerdict::Stored),
        ] {
            let said = said_of(scopes, by_scopes, NEW, stored.clone());
            assert_eq!(said, expected, "{scopes:?} {stored}");
        }
    }

    #[test]
    fn what_cannot_have_been_there_before_proves_and_nothing_else_does() {
        let all = json!({"accessToken": "at2", "refreshToken": "rt", "accessTokenExpiry": "1800000000",
                         "accessTokenType": "Bearer", "grantedBy": "admin"});
        let with = |field: &str, value: Value| {
            let mut token = all.clone();
            token[field] = value;
            token
        };
        let old_access = with("accessToken", json!("at1"));
        let refreshed = |mut token: Value| {
            token["lastRefreshTime"] = json!((SUBMITTED_AT + 100).to_string());
            token
        };
        let rotated = refreshed(json!({"accessToken": "x", "refreshToken": "y"}));
        let rows = [
            (ACCESS, all.clone(), ReadBackVerdict::Stored),
            // The refresh token is the same as before: it proves nothing.
            (ACCESS, old_access.clone(), ReadBackVerdict::NotStored),
            (ACCESS, with("accessToken", json!(null)), ReadBackVerdict::Nothing),
            (ACCESS, with("accessToken", json!("")), ReadBackVerdict::Nothing),
            (ACCESS, with("tenantId", json!("t")), ReadBackVerdict::Nothing),
            (ACCESS, refreshed(old_access.clone()), ReadBackVerdict::Nothing),
            (NEW, all.clone(), ReadBackVerdict::Stored),
            (NEW, old_access.clone(), ReadBackVerdict::Stored),
            (
                NEW,
                json!({"accessToken": "x", "refreshToken": "y"}),
                ReadBackVerdict::NotStored,
            ),
            (NEW, rotated, ReadBackVerdict::Stored),
            (ATTRIBUTES, all.clone(), ReadBackVerdict::Stored),
            (
                ATTRIBUTES,
                with("accessTokenExpiry", json!(17)),
                ReadBackVerdict::NotStored,
            ),
            (
                ATTRIBUTES,
                with("grantedBy", json!(null)),
                ReadBackVerdict::Nothing,
            ),
            (Evidence::default(), all.clone(), ReadBackVerdict::Nothing),
        ];
        for (evidence, stored, expected) in rows {
            assert_eq!(said(evidence, stored.clone()), expected, "{evidence:?} {stored}");
        }
    }
}
