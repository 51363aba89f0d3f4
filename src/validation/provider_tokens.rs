//! Provider tokens: rows whose token is fetched from Descope, their fingerprints, and their completion.

use super::{Place, Ready, Validator, rules};
use crate::{
    config::{Prefer, ProviderSettings},
    descope::{self, ProviderToken},
    domain::{
        Decision, Destination, EncodedPage, EncodedToken, Expiry, Item, LegacyToken, LoginId, Reason, Rule,
        RuleSet, Scopes, SourceKey, Unsent,
    },
    secret::{Fingerprint, SentAttributes, ZeroizingBuf},
};

/// A row and the token to fetch for it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) token: LegacyToken,
    pub(super) login_id: LoginId,
    pub(super) provider: String,
    pub(super) fingerprint: Fingerprint,
}

/// A row that is sent as soon as its token is fetched.
#[derive(Debug)]
pub struct PendingFetch {
    place: Place,
    wanted: Box<Wanted>,
}

impl PendingFetch {
    pub(super) fn new(place: Place, wanted: Box<Wanted>) -> Self {
        Self { place, wanted }
    }

    /// Returns the source row.
    #[must_use]
    pub fn key(&self) -> &SourceKey {
        &self.place.key
    }

    /// Returns the login ID to fetch the token with.
    #[must_use]
    pub fn login_id(&self) -> &LoginId {
        &self.wanted.login_id
    }

    /// Returns the provider of the token.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.wanted.provider
    }

    /// Returns the destination.
    #[must_use]
    pub fn destination_id(&self) -> crate::domain::DestinationId {
        self.place.destination_id
    }
}

/// The settings, the login ID and the provider of a fetch.
type Asked<'a> = (&'a ProviderSettings, LoginId, String);

impl Validator {
    /// Returns the fetch that a row needs; `None` if its own token is sent.
    pub(super) fn provider_of(&self, token: &LegacyToken) -> Result<Option<Asked<'_>>, Reason> {
        let Some(settings) = &self.provider else {
            return Ok(None);
        };
        let has_token = token.has_token();
        // A value that could not be decrypted or read still counts as a token of the row.
        if token.sealed.is_some()
            || token.unreadable.is_some()
            || (has_token && settings.prefer == Prefer::Columns)
        {
            return Ok(None);
        }
        let provider = token.provider.as_deref().map(str::trim).unwrap_or_default();
        match token.login.id() {
            Some(login_id) if !provider.is_empty() => {
                Ok(Some((settings, login_id.clone(), provider.to_owned())))
            }
            _ if has_token => Ok(None),
            Some(_) => Err(rules::reason(Rule::ProviderNotNamed)),
            None => Err(rules::reason(Rule::ProviderNoLoginId)),
        }
    }

    /// Fingerprints a row without fetching: its own fields, and the fetch it needs.
    pub(super) fn row_fingerprint(
        &self,
        settings: &ProviderSettings,
        token: &LegacyToken,
        destination: &Destination,
        login_id: &LoginId,
        provider: &str,
    ) -> Fingerprint {
        let own = descope::encode(token, destination, None);
        let expiry = match token.expiry {
            Expiry::At(seconds) => Some(seconds),
            Expiry::Unknown | Expiry::Never | Expiry::Unreadable => None,
        };
        let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
        self.key.row_fingerprint(&[
            own.reveal(),
            number(expiry).as_bytes(),
            number(token.version.get()).as_bytes(),
            login_id.reveal().as_bytes(),
            provider.as_bytes(),
            settings.revision.as_bytes(),
        ])
    }

    /// Completes a row after its fetch. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Returns the decision about a row that is not sent.
    pub fn complete(
        &self,
        row: PendingFetch,
        fetched: Result<ProviderToken, Reason>,
        now: i64,
    ) -> Result<(Item, RuleSet), Box<Decision>> {
        let PendingFetch { place, wanted } = row;
        let Wanted {
            mut token,
            fingerprint,
            ..
        } = *wanted;
        let prefer = self.provider.as_ref().map_or(Prefer::Columns, |it| it.prefer);
        let mut encoded_page = ZeroizingBuf::default();
        let ready = match fetched.and_then(|fetched| alive(fetched, now)) {
            Ok(fetched) => {
                merge(&mut token, fetched, prefer);
                self.ready(&token, &place.destination, now, &mut encoded_page)
            }
            // Falls back to the row's own token.
            Err(_) if token.has_token() => self.ready(&token, &place.destination, now, &mut encoded_page),
            Err(reason) => Err(reason),
        };
        match ready {
            Ok(ready) => {
                let warnings = ready.warnings;
                let ready = Ready { fingerprint, ..ready };
                Ok((place.carrying(ready, &EncodedPage::new(encoded_page)), warnings))
            }
            Err(reason) => Err(Box::new(Decision {
                key: place.key,
                destination: Some(place.destination),
                app: None,
                version: place.version,
                row_digest: Some(fingerprint),
                end: Unsent::Failed(reason),
            })),
        }
    }

    /// Builds the item of a row without its token, for counting.
    #[must_use]
    pub fn placeholder_item(&self, row: PendingFetch) -> Item {
        let PendingFetch { place, wanted } = row;
        let mut encoded_page = ZeroizingBuf::default();
        descope::encode_into(&mut encoded_page, &wanted.token, &place.destination, None);
        let ready = Ready {
            encoded: 0..encoded_page.as_ref().len(),
            fingerprint: wanted.fingerprint,
            expiry: None,
            warnings: RuleSet::default(),
            // As if both tokens were fetched.
            parts: self
                .key
                .parts()
                .parts(Some(""), Some(""), SentAttributes::default()),
        };
        place.carrying(ready, &EncodedPage::new(encoded_page))
    }
}

/// Rejects an expired token that cannot be refreshed. The expiry of a row may be wrong, and rows are
/// validated again; this one comes from the provider and was just fetched.
fn alive(token: ProviderToken, now: i64) -> Result<ProviderToken, Reason> {
    let is_over = token.refresh_token.is_none() && token.expires_at.is_some_and(|seconds| seconds <= now);
    if is_over {
        Err(rules::reason(Rule::ProviderTokenExpired))
    } else {
        Ok(token)
    }
}

/// Encodes the fields sent with a fetched token: [`merge`] leaves exactly these unchanged.
pub(super) fn around_the_token(
    settings: &ProviderSettings,
    token: &LegacyToken,
    destination: &Destination,
) -> EncodedToken {
    let mut around = token.clone();
    around.access_token = None;
    around.refresh_token = None;
    if settings.prefer == Prefer::Provider {
        around.scopes = Scopes::Absent;
    }
    descope::encode(&around, destination, None)
}

/// Puts a fetched token into its row. Tokens and expiry belong together and are never mixed with the row's
/// own.
fn merge(token: &mut LegacyToken, fetched: ProviderToken, prefer: Prefer) {
    token.access_token = fetched.access_token;
    token.refresh_token = fetched.refresh_token;
    token.expiry = fetched.expires_at.map_or(Expiry::Unknown, Expiry::At);
    let keeps_scopes = prefer == Prefer::Columns && token.scopes != Scopes::Absent;
    if !keeps_scopes && !fetched.scopes.is_empty() {
        token.scopes = Scopes::Listed(fetched.scopes.into());
    }
}
