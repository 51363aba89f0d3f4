//! Reads tokens back, and spares those that a fetch may make Descope refresh.

use chrono::Utc;

use super::{Answered, LookupClient, LookupError, Quota};
use crate::{
    descope::{LookupOutcome, Refusal, StoredToken},
    domain::{Lifetime, Probe, RefreshMargin},
};

/// Reads the tokens that others compare. The one place that decides whether a token may be fetched now.
#[derive(Debug, Clone, Copy)]
pub struct TokenReader<'a> {
    lookup_client: &'a LookupClient,
    /// `None` reads every token.
    spared: Option<RefreshMargin>,
    /// What is said when it cannot go on.
    what: &'static str,
}

/// What reading one token back came to.
#[derive(Debug)]
pub enum Read {
    /// It is there, or something else is shown in its place.
    Found(Box<StoredToken>),
    /// Nothing is there.
    Absent,
    /// The API does not take the question.
    Refused(Refusal),
    /// Nobody was asked: a fetch may refresh it.
    Spared,
}

impl<'a> TokenReader<'a> {
    /// A reader that spares tokens by this margin, if by any. `what` says what it is for: "tokens could not be read back".
    #[must_use]
    pub fn new(lookup_client: &'a LookupClient, spared: Option<RefreshMargin>, what: &'static str) -> Self {
        Self {
            lookup_client,
            spared,
            what,
        }
    }

    /// Reads a token of which this was sent.
    ///
    /// # Errors
    /// If the run is stopped.
    pub async fn read(&self, probe: &Probe, lifetime: Lifetime) -> Result<Read, LookupError> {
        let is_spared = || {
            self.spared
                .is_some_and(|margin| margin.may_refresh(lifetime, Utc::now().timestamp()))
        };
        // Costs no quota.
        if is_spared() {
            return Ok(Read::Spared);
        }
        let answered = self
            .lookup_client
            .ask(Quota::Plain, self.what, async |client| {
                // Again: a turn may be long in coming.
                if is_spared() {
                    return LookupOutcome::Found(None);
                }
                let pays = async || self.lookup_client.attempts().next().await.is_some() && !is_spared();
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
