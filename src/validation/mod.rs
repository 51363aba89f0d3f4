//! Validation: decides for each row of a page whether it is sent, rejected, superseded or unchanged. Pure:
//! the ledger's state is passed in.

mod columns;
mod duplicates;
mod provider_tokens;
mod resolve;
mod row_digest;
mod rules;
mod siblings;

pub use columns::{ColumnProfile, Suspicion};
pub use duplicates::Duplicates;
pub use provider_tokens::PendingFetch;
pub use resolve::{Challenge, Conflict, Validated};

use std::{ops::Range, sync::Arc};

use crate::{
    config::{AppMap, Prefer, ProviderSettings},
    descope,
    domain::{
        Decision, Destination, DestinationId, EncodedPage, EncodedToken, Evidence, Item, LedgerState,
        LegacyToken, Lifetime, Prior, Reason, RuleSet, RunId, ScopeSet, SourceKey, Unsent, Version,
    },
    secret::{BufferPool, Fingerprint, FingerprintKey, Parts, Secret, SentAttributes, ZeroizingBuf},
};

/// The settings of a run's validation.
#[derive(Debug)]
pub struct Validator {
    apps: AppMap,
    key: FingerprintKey,
    tolerated: RuleSet,
    /// Settings for rows whose token is fetched from Descope.
    provider: Option<ProviderSettings>,
    buffers: Arc<BufferPool>,
}

/// A page after the local rules and encoding, before the ledger's state is applied.
#[derive(Debug)]
pub struct ExaminedPage {
    page: u64,
    candidates: Vec<Candidate>,
    /// The encoded tokens.
    encoded_page: EncodedPage,
    /// Rows that were decided without the ledger.
    decisions: Vec<Decision>,
}

/// A row with a destination.
#[derive(Debug)]
struct Candidate {
    key: SourceKey,
    destination: Destination,
    destination_id: DestinationId,
    version: Version,
    verdict: Verdict,
}

/// The result of the local rules, unless the ledger knows the row as settled.
#[derive(Debug)]
enum Verdict {
    /// It can be sent.
    Ready(Ready),
    /// Its token has to be fetched first.
    ToFetch(Box<provider_tokens::Wanted>),
    /// A rule rejects it; with the row's digest.
    Forbidden(Reason, Option<Fingerprint>),
}

impl Verdict {
    /// Returns the digest by which the row is recognised when it fails again.
    fn row_digest(&self) -> Option<Fingerprint> {
        match self {
            Self::Ready(ready) => Some(ready.fingerprint),
            Self::ToFetch(wanted) => Some(wanted.fingerprint),
            Self::Forbidden(_, row_digest) => *row_digest,
        }
    }
}

/// A row and its destination.
#[derive(Debug)]
struct Place {
    key: SourceKey,
    page: u64,
    destination: Destination,
    destination_id: DestinationId,
    version: Version,
    is_new: bool,
    replaces: Option<SourceKey>,
    /// The content of the destination before.
    prior: Prior,
}

/// The encoded form of a row.
#[derive(Debug)]
pub struct EncodedRow {
    /// The destination.
    pub destination: Destination,
    /// The fingerprint for the ledger.
    pub fingerprint: Fingerprint,
    /// The origin of the token.
    pub origin: Origin,
    /// Decides whether a fetch may refresh it. Empty for a fetched token: the source has no copy that a
    /// refresh could invalidate.
    pub lifetime: Lifetime,
    /// The encoded token; for a fetched token, without the token itself, its expiry and its scopes.
    pub encoded: EncodedToken,
}

/// The origin of the uploaded token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The row.
    Row {
        /// Has an access token.
        has_access_token: bool,
        /// Has a refresh token.
        has_refresh_token: bool,
    },
    /// Descope; the source does not contain it.
    Fetched,
}

#[derive(Debug)]
struct Ready {
    /// Its range in the encoded page.
    encoded: Range<usize>,
    fingerprint: Fingerprint,
    expiry: Option<i32>,
    warnings: RuleSet,
    parts: Parts,
}

impl Validator {
    /// Builds the validator of a run.
    #[must_use]
    pub fn new(apps: AppMap, key: FingerprintKey) -> Self {
        Self {
            apps,
            key,
            tolerated: RuleSet::default(),
            provider: None,
            buffers: Arc::default(),
        }
    }

    /// Takes the memory of encoded pages from the run's pool.
    #[must_use]
    pub fn with_buffers(mut self, buffers: &Arc<BufferPool>) -> Self {
        self.buffers = Arc::clone(buffers);
        self
    }

    /// Enables fetching of tokens that Descope stores.
    #[must_use]
    pub fn fetching(mut self, provider: Option<ProviderSettings>) -> Self {
        self.provider = provider;
        self
    }

    /// Turns errors of these rules into warnings.
    #[must_use]
    pub fn tolerating(mut self, tolerated: RuleSet) -> Self {
        self.tolerated = tolerated;
        self
    }

    /// Returns the destination of a row; `None` if it has none.
    #[must_use]
    pub fn destination_of(&self, token: &LegacyToken) -> Option<DestinationId> {
        self.destination(token).ok().map(|destination| destination.id())
    }

    /// Applies the local rules to a page, and encodes the valid rows.
    #[must_use]
    pub fn examine(&self, page: u64, tokens: Vec<LegacyToken>) -> ExaminedPage {
        let mut candidates: Vec<Candidate> = Vec::with_capacity(tokens.len());
        let mut decisions = Vec::new();
        let room = tokens.iter().map(descope::room_for).sum();
        let mut encoded_page = ZeroizingBuf::pooled(&self.buffers, room);
        let now = chrono::Utc::now().timestamp();
        for token in tokens {
            match self.destination(&token) {
                Ok(destination) => {
                    candidates.push(self.candidate(token, destination, now, &mut encoded_page));
                }
                Err(reason) => decisions.push(Decision {
                    row_digest: self.row_digest(&token),
                    key: token.key,
                    destination: None,
                    app: token.app.map(|name| self.apps.resolve_or_quote(&name)),
                    version: token.version,
                    end: Unsent::Failed(reason),
                }),
            }
        }
        ExaminedPage {
            page,
            candidates,
            encoded_page: EncodedPage::new(encoded_page),
            decisions,
        }
    }

    /// Applies the rules to a single row and returns the warnings. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Returns the reason of the first rule that rejects the row.
    pub fn check(&self, token: &LegacyToken, now: i64) -> Result<RuleSet, Reason> {
        let destination = self.destination(token)?;
        rules::sendable(token, &destination, self.tolerated, now).map(|sendable| sendable.warnings)
    }

    /// Encodes a row as it would be sent today, without the ledger. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Returns the reason of the first rule that rejects the row.
    pub fn as_sent(&self, token: &LegacyToken, now: i64) -> Result<EncodedRow, Reason> {
        let destination = self.destination(token)?;
        let Some((settings, login_id, provider)) = self.provider_of(token)? else {
            let mut encoded_page = ZeroizingBuf::with_capacity(descope::room_for(token));
            let ready = self.ready(token, &destination, now, &mut encoded_page)?;
            return Ok(EncodedRow {
                destination,
                fingerprint: ready.fingerprint,
                origin: Origin::Row {
                    has_access_token: ready.parts.has_access_token(),
                    has_refresh_token: ready.parts.has_refresh_token(),
                },
                lifetime: Lifetime {
                    expiry: ready.expiry,
                    has_refresh_token: ready.parts.has_refresh_token(),
                },
                encoded: EncodedToken::new(encoded_page),
            });
        };
        let keeps_own = settings.prefer == Prefer::Columns;
        rules::worth_fetching_for(token, &destination, keeps_own, self.tolerated)?;
        Ok(EncodedRow {
            fingerprint: self.row_fingerprint(settings, token, &destination, &login_id, &provider),
            origin: Origin::Fetched,
            lifetime: Lifetime::default(),
            encoded: provider_tokens::around_the_token(settings, token, &destination),
            destination,
        })
    }

    /// Returns the destination of a row. If a fetched token is preferred, its scopes are unknown before it is
    /// fetched, so they are not part of the destination; there is only one such token for all rows that ask
    /// for it.
    fn destination(&self, token: &LegacyToken) -> Result<Destination, Reason> {
        let destination = rules::destination(token, &self.apps)?;
        let is_preferred = matches!(
            self.provider_of(token),
            Ok(Some((settings, ..))) if settings.prefer == Prefer::Provider
        );
        Ok(if is_preferred {
            destination.with_scopes(ScopeSet::default())
        } else {
            destination
        })
    }

    fn candidate(
        &self,
        token: LegacyToken,
        destination: Destination,
        now: i64,
        encoded_page: &mut ZeroizingBuf,
    ) -> Candidate {
        let (key, version) = (token.key.clone(), token.version);
        let verdict = match self.provider_of(&token) {
            Ok(None) => match self.ready(&token, &destination, now, encoded_page) {
                Ok(ready) => Verdict::Ready(ready),
                Err(reason) => Verdict::Forbidden(reason, self.row_digest(&token)),
            },
            Ok(Some((settings, login_id, provider))) => {
                let keeps_own = settings.prefer == Prefer::Columns;
                match rules::worth_fetching_for(&token, &destination, keeps_own, self.tolerated) {
                    Ok(()) => {
                        let fingerprint =
                            self.row_fingerprint(settings, &token, &destination, &login_id, &provider);
                        Verdict::ToFetch(Box::new(provider_tokens::Wanted {
                            token,
                            login_id,
                            provider,
                            fingerprint,
                        }))
                    }
                    Err(reason) => Verdict::Forbidden(reason, self.row_digest(&token)),
                }
            }
            Err(reason) => Verdict::Forbidden(reason, self.row_digest(&token)),
        };
        Candidate {
            key,
            destination_id: destination.id(),
            destination,
            version,
            verdict,
        }
    }

    /// Encodes a row into the page, unless a rule rejects it.
    fn ready(
        &self,
        token: &LegacyToken,
        destination: &Destination,
        now: i64,
        encoded_page: &mut ZeroizingBuf,
    ) -> Result<Ready, Reason> {
        rules::sendable(token, destination, self.tolerated, now).map(|sendable| {
            let begin = encoded_page.as_ref().len();
            descope::encode_into(encoded_page, token, destination, sendable.expiry);
            let encoded = begin..encoded_page.as_ref().len();
            let attributes = SentAttributes {
                expiry: sendable.expiry,
                token_type: token.access_token_type.as_deref(),
                granted_by: token.granted_by.as_deref(),
            };
            let parts = self.key.parts().parts(
                token.access_token.as_ref().map(Secret::reveal),
                token.refresh_token.as_ref().map(Secret::reveal),
                attributes,
            );
            Ready {
                fingerprint: self.key.fingerprint(&encoded_page.as_ref()[encoded.clone()]),
                expiry: sendable.expiry,
                warnings: sendable.warnings,
                parts,
                encoded,
            }
        })
    }
}

impl Place {
    /// Builds the item of the row's token.
    fn carrying(self, ready: Ready, encoded_page: &EncodedPage) -> Item {
        Item {
            key: self.key,
            page: self.page,
            identity: self.destination.identity(),
            destination: self.destination,
            destination_id: self.destination_id,
            version: self.version,
            fingerprint: ready.fingerprint,
            expiry: ready.expiry,
            parts: ready.parts,
            evidence: Evidence::of(ready.parts, self.prior),
            is_new: self.is_new,
            replaces: self.replaces,
            encoded: encoded_page.cut(ready.encoded),
        }
    }
}

impl ExaminedPage {
    /// Returns the keys to look up in the ledger.
    pub fn keys(&self) -> impl Iterator<Item = &SourceKey> + Clone {
        self.candidates.iter().map(|candidate| &candidate.key)
    }

    /// Returns the destinations to look up in the ledger, in the order of [`keys`](Self::keys).
    pub fn destinations(&self) -> impl Iterator<Item = DestinationId> + Clone {
        self.candidates.iter().map(|candidate| candidate.destination_id)
    }

    /// Returns the destinations that a row of the page may go to. Rows that this run already found outdated
    /// are left out.
    pub fn contested<'a>(
        &'a self,
        known: &'a LedgerState,
        run: RunId,
    ) -> impl Iterator<Item = DestinationId> + 'a {
        self.candidates
            .iter()
            .filter(move |candidate| !candidate.is_outdated(known, run))
            .map(|candidate| candidate.destination_id)
    }
}

impl Candidate {
    /// Returns true if this run found the row outdated and it has not changed since.
    fn is_outdated(&self, known: &LedgerState, run: RunId) -> bool {
        known
            .rows
            .get(&self.key)
            .is_some_and(|row| row.outdated == Some((run, self.version)))
    }

    fn unsent(self, end: Unsent) -> Decision {
        Decision {
            key: self.key,
            destination: Some(self.destination),
            app: None,
            version: self.version,
            row_digest: self.verdict.row_digest(),
            end,
        }
    }
}

/// Compares by `updated_at`, then by key.
fn is_newer(version: Version, key: &SourceKey, other_version: Version, other_key: &SourceKey) -> bool {
    version > other_version || (version == other_version && key.is_after(other_key))
}
