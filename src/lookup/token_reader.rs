//! Token reader: reads tokens back, and spares those that a fetch may make Descope refresh.

use chrono::Utc;

use super::{Answered, LookupClient, LookupError, Quota};
use crate::{
    descope::{LookupOutcome, Refusal, StoredToken},
    domain::{Lifetime, Probe, RefreshMargin},
};

/// The reader of tokens that others compare. Nothing else decides whether a token may be fetched now.
#[derive(Debug, Clone, Copy)]
pub struct TokenReader<'a> {
    lookup_client: &'a LookupClient,
    /// `None` reads every token.
    spared: Option<RefreshMargin>,
    /// The description of a failure.
    what: &'static str,
}

/// The result of reading one token back.
#[derive(Debug)]
pub enum Read {
    /// The token, or another one that is shown in its place.
    Found(Box<StoredToken>),
    /// No token is stored.
    Absent,
    /// The API rejects the request.
    Refused(Refusal),
    /// It was not read, because a fetch may refresh it.
    Spared,
}

impl<'a> TokenReader<'a> {
    /// Returns a reader that spares tokens by this margin, if there is one. `what` describes a failure:
    /// "tokens could not be read back".
    #[must_use]
    pub fn new(lookup_client: &'a LookupClient, spared: Option<RefreshMargin>, what: &'static str) -> Self {
        Self {
            lookup_client,
            spared,
            what,
        }
    }

    /// Reads the token of a probe, unless it is spared.
    ///
    /// # Errors
    /// If the run is stopped.
    pub async fn read(&self, probe: &Probe, lifetime: Lifetime) -> Result<Read, LookupError> {
        let is_spared = || {
            self.spared
                .is_some_and(|margin| margin.may_refresh(lifetime, Utc::now().timestamp()))
        };
        // A spared token uses no quota.
        if is_spared() {
            return Ok(Read::Spared);
        }
        let answered = self
            .lookup_client
            .ask(Quota::Plain, self.what, async |client| {
                // This is checked again, because the wait for the quota may be long.
                if is_spared() {
                    return LookupOutcome::Found(None);
                }
                let pays = async || self.lookup_client.attempts().start().await.is_some() && !is_spared();
                client.latest(probe, pays).await.map(Some)
            })
            .await?;
        Ok(match answered {
            Answered::Found(Some(token)) => Read::Found(Box::new(token)),
            Answered::Found(None) => Read::Spared,
            Answered::Absent => Read::Absent,
            Answered::Refused(refusal) => Read::Refused(refusal),
        })
    }
}
