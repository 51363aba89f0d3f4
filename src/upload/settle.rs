//! Finds out what became of a batch whose answer was lost: one of its tokens is read back, and speaks for all.

use std::{cmp::Reverse, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::uploader::Uploader;
use crate::{
    descope::{ReadBack, sent_value},
    model::{Batch, Fingerprint, Item, Probe, StopReason, Subject},
};

/// What asking found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The value that was sent is there: all of the batch is.
    Committed,
    /// It is not there, and no request can be under way any more: nothing of the batch is.
    NotThere,
    /// The API does not let these tokens be seen, and no request can be under way any more.
    CannotAsk,
    /// The API gives no usable answer to the question.
    Unknown,
    /// The run was stopped before there was an answer.
    Stopped,
}

/// The token to ask for, and how its value is recognised.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) position: usize,
    pub(super) probe: Probe,
    pub(super) digest: Fingerprint,
}

/// How well a token would speak for its batch; the greatest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    by: RecognisedBy,
    /// It is asked for by tenant or external identifier, so that fewer others could stand in front of it.
    singled_out: bool,
    /// When its access token expires.
    alive_until: i64,
    position: Reverse<usize>,
}

/// By which value a token is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RecognisedBy {
    /// Reading an access token that has expired might make the API refresh it: only where there is nothing else.
    ExpiredAccess,
    Refresh,
    Access,
}

/// An access token that expires sooner might be refreshed by the API when it is read back.
const LIFE_SECONDS: i64 = 600;

/// So many tokens of a batch are asked for if others stand in front of them.
const MOST_WITNESSES: usize = 3;

impl Uploader {
    /// The best witness of a batch.
    pub(super) fn witness(&self, batch: &Batch) -> Option<Witness> {
        let best = ranks(batch).max()?;
        self.summon(batch, &best)
    }

    /// The best witnesses of a batch, the very best first.
    pub(super) fn witnesses(&self, batch: &Batch) -> Vec<Witness> {
        let mut ranks: Vec<Rank> = ranks(batch).collect();
        ranks.sort_by(|one, other| other.cmp(one));
        let best = ranks.iter().take(MOST_WITNESSES);
        best.filter_map(|rank| self.summon(batch, rank)).collect()
    }

    fn summon(&self, batch: &Batch, rank: &Rank) -> Option<Witness> {
        let position = rank.position.0;
        let item = batch.items.get(position)?;
        let probe = Probe::new(&item.destination, rank.by == RecognisedBy::Refresh);
        let value = sent_value(&probe, &item.encoded)?;
        Some(Witness {
            position,
            digest: self.key().value_digest(value.reveal()),
            probe,
        })
    }

    /// Asks until there is an answer. "Not there" is believed only after `settled_at`: before that, the request may
    /// still be on its way through the API.
    pub(super) async fn settle(&self, witnesses: &[Witness], settled_at: Instant) -> Settlement {
        let mut attempts = self.attempts().through_pauses();
        let mut left = witnesses.iter();
        loop {
            let Some(Witness { probe, digest, .. }) = left.as_slice().first() else {
                return Settlement::CannotAsk;
            };
            if attempts.next().await.is_none() {
                return Settlement::Stopped;
            }
            let wait = match self.client().read_back(probe).await {
                ReadBack::Found(value) if self.key().value_digest(value.reveal()) == *digest => {
                    return Settlement::Committed;
                }
                ReadBack::Another if left.len() > 1 => {
                    left.next();
                    continue;
                }
                ReadBack::Found(_) | ReadBack::Absent if Instant::now() >= settled_at => {
                    return Settlement::NotThere;
                }
                ReadBack::Another if Instant::now() >= settled_at => {
                    warn!(
                        "a newer token of the same user hides what became of a batch: it is sent again, the timeout having passed"
                    );
                    return Settlement::CannotAsk;
                }
                ReadBack::Found(_) | ReadBack::Absent | ReadBack::Another => {
                    debug!("not seen yet: asking again when the request can no longer be under way");
                    if self.stop().unless_turned(sleep_until(settled_at)).await.is_none() {
                        return Settlement::Stopped;
                    }
                    left = witnesses.iter();
                    continue;
                }
                ReadBack::Refused(refusal) => {
                    self.say_once_that_reading_is_refused(&refusal);
                    let waited = self.stop().unless_turned(sleep_until(settled_at)).await;
                    return if waited.is_some() {
                        Settlement::CannotAsk
                    } else {
                        Settlement::Stopped
                    };
                }
                ReadBack::Credentials(refusal) => {
                    // The batch stays in flight: it is asked for when there are credentials that are accepted.
                    self.stop().turn(StopReason::Credentials(format!(
                        "{}: {}",
                        refusal.code, refusal.text
                    )));
                    return Settlement::Stopped;
                }
                ReadBack::RateLimited { retry_after } => {
                    self.rate_limited(retry_after, attempts.delay());
                    Duration::ZERO
                }
                ReadBack::TryAgain(refusal) => {
                    debug!(code = %refusal.code, "reading back gave no usable answer");
                    attempts.delay()
                }
            };
            if !attempts.again(wait).await {
                warn!(
                    "the outcome of a batch is unknown, and the API does not say: it stays in flight in the ledger"
                );
                return Settlement::Unknown;
            }
        }
    }
}

fn ranks(batch: &Batch) -> impl Iterator<Item = Rank> {
    let now = chrono::Utc::now().timestamp();
    batch
        .items
        .iter()
        .enumerate()
        .map(move |(position, item)| rank(item, position, now))
}

fn rank(item: &Item, position: usize, now: i64) -> Rank {
    let alive_until = item.expiry.map_or(i64::MAX, i64::from);
    let by = if item.has_access_token && alive_until > now + LIFE_SECONDS {
        RecognisedBy::Access
    } else if item.has_refresh_token {
        RecognisedBy::Refresh
    } else {
        RecognisedBy::ExpiredAccess
    };
    let destination = &item.destination;
    let in_tenant = destination.subject == Subject::User && destination.tenant_id.is_some();
    Rank {
        by,
        singled_out: in_tenant || destination.external_identifier.is_some(),
        alive_until,
        position: Reverse(position),
    }
}
