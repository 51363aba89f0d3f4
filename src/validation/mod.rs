//! Decides, before anything is sent, what happens to each row of a page: it goes up, or it fails a local rule, or a
//! newer row goes to its destination, or it is there already. Pure: the ledger's knowledge is handed in.

mod columns;
mod duplicates;
mod provider_tokens;
mod resolve;
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

/// What stays the same for all pages of a run.
#[derive(Debug)]
pub struct Validator {
    apps: AppMap,
    key: FingerprintKey,
    tolerated: RuleSet,
    /// How rows are treated whose token Descope keeps.
    provider: Option<ProviderSettings>,
    buffers: Arc<BufferPool>,
}

/// A page whose rows were held against the local rules and encoded; what the ledger knows comes next.
#[derive(Debug)]
pub struct ExaminedPage {
    page: u64,
    candidates: Vec<Candidate>,
    /// What would be sent of them.
    encoded_page: EncodedPage,
    /// Rows that were decided without asking the ledger.
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

/// What is to be done about a row, if the ledger does not know it settled.
#[derive(Debug)]
enum Verdict {
    /// To be sent.
    Ready(Ready),
    /// Its token is to be fetched first.
    ToFetch(Box<provider_tokens::Wanted>),
    /// A rule forbids it.
    Forbidden(Reason),
}

/// Which row goes where.
#[derive(Debug)]
struct Place {
    key: SourceKey,
    page: u64,
    destination: Destination,
    destination_id: DestinationId,
    version: Version,
    is_new: bool,
    replaces: Option<SourceKey>,
    /// What is there before.
    prior: Prior,
}

/// What would be sent for a row.
#[derive(Debug)]
pub struct EncodedRow {
    /// Where it goes.
    pub destination: Destination,
    /// By which the ledger knows it.
    pub fingerprint: Fingerprint,
    /// Whose token it is.
    pub origin: Origin,
    /// What tells whether a fetch may refresh it. Of a fetched token nothing is known: the source holds no copy of it that
    /// a refresh could end.
    pub lifetime: Lifetime,
    /// What is sent; of a fetched token all but the token itself, its expiry and what comes with it.
    pub encoded: EncodedToken,
}

/// Where the token that goes up is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The row itself.
    Row {
        /// An access token is sent.
        has_access_token: bool,
        /// A refresh token is sent.
        has_refresh_token: bool,
    },
    /// It is fetched from where Descope keeps it: the source does not hold what is sent.
    Fetched,
}

#[derive(Debug)]
struct Ready {
    /// Where in its sheet it stands encoded.
    encoded: Range<usize>,
    fingerprint: Fingerprint,
    expiry: Option<i32>,
    warnings: RuleSet,
    parts: Parts,
}

impl Validator {
    /// A validator for one run.
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

    /// Lets tokens be fetched that Descope itself keeps.
    #[must_use]
    pub fn fetching(mut self, provider: Option<ProviderSettings>) -> Self {
        self.provider = provider;
        self
    }

    /// Makes warnings of these suspicions.
    #[must_use]
    pub fn tolerating(mut self, tolerated: RuleSet) -> Self {
        self.tolerated = tolerated;
        self
    }

    /// Where a row goes; `None` if nowhere, whatever it holds.
    #[must_use]
    pub fn destination_of(&self, token: &LegacyToken) -> Option<DestinationId> {
        self.destination(token).ok().map(|destination| destination.id())
    }

    /// Holds the rows of a page against the local rules, and encodes what may go up.
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

    /// What the rules say of a row alone, whatever else there is: the warnings about it, or why it does not go up. `now` is
    /// in seconds since 1970.
    ///
    /// # Errors
    /// The first rule that forbids it.
    pub fn check(&self, token: &LegacyToken, now: i64) -> Result<RuleSet, Reason> {
        let destination = self.destination(token)?;
        rules::sendable(token, &destination, self.tolerated, now).map(|sendable| sendable.warnings)
    }

    /// What would be sent for a row today, whatever the ledger knows of it. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The first rule that forbids it.
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

    /// Where a row goes. The scopes of a token that is preferred to the row's own are not known before it was fetched, and
    /// there is one such token however many rows ask for it: it has one destination.
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
                Err(reason) => Verdict::Forbidden(reason),
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
                    Err(reason) => Verdict::Forbidden(reason),
                }
            }
            Err(reason) => Verdict::Forbidden(reason),
        };
        Candidate {
            key,
            destination_id: destination.id(),
            destination,
            version,
            verdict,
        }
    }

    /// What is sent of a row, unless a rule forbids it; put behind what stands on the sheet.
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
    /// The row's token on its way there.
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
    /// The rows the ledger is to be asked about.
    pub fn keys(&self) -> impl Iterator<Item = &SourceKey> + Clone {
        self.candidates.iter().map(|candidate| &candidate.key)
    }

    /// The destinations the ledger is to be asked about, in the order of [`keys`](Self::keys).
    pub fn destinations(&self) -> impl Iterator<Item = DestinationId> + Clone {
        self.candidates.iter().map(|candidate| candidate.destination_id)
    }

    /// Destinations that something of the page may go to: rows that this very run found outdated go nowhere.
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
    /// Found to be outdated by this very run, and the same since.
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
            end,
        }
    }
}

/// Newest by `updated_at`, then by key.
fn is_newer(version: Version, key: &SourceKey, other_version: Version, other_key: &SourceKey) -> bool {
    version > other_version || (version == other_version && key.is_after(other_key))
}
