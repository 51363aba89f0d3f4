//! Finds out what became of a batch whose answer was lost: one of its tokens is read back, and speaks for all.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::{retry::Delays, uploader::Uploader};
use crate::{
    descope::{ReadBack, sent_value},
    model::{Batch, Fingerprint, Item, Probe, StopReason},
};

/// What asking found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The value that was sent is there: all of the batch is.
    Committed,
    /// It is not there, and no request can be under way any more: nothing of the batch is.
    NotThere,
    /// The API does not let tokens be read back, and no request can be under way any more.
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

/// An access token that expires sooner might be refreshed by the API when it is read back.
const LIFE_SECONDS: i64 = 600;

impl Uploader {
    /// Chooses the witness of a batch: the access token that lives longest, since reading one that has expired might make
    /// the API refresh it. Where none is left that lives, the refresh token is what is recognised.
    pub(super) fn witness(&self, batch: &Batch) -> Option<Witness> {
        let alive_until = chrono::Utc::now().timestamp() + LIFE_SECONDS;
        let life = |item: &Item| item.expiry.map_or(i64::MAX, i64::from);
        let longest = batch
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.has_access_token)
            .max_by_key(|(position, item)| (life(item), std::cmp::Reverse(*position)));
        let alive = longest
            .filter(|(_, item)| life(item) > alive_until)
            .map(|(position, _)| (position, false));
        let refreshing = || {
            batch
                .items
                .iter()
                .position(|item| item.has_refresh_token)
                .map(|position| (position, true))
        };
        let (position, by_refresh_token) = alive
            .or_else(refreshing)
            .or_else(|| longest.map(|(position, _)| (position, false)))?;
        let item = batch.items.get(position)?;
        let probe = Probe {
            subject: batch.subject,
            app_id: item.destination.app_id.clone(),
            user_id: item.destination.user_id.clone(),
            tenant_id: item.destination.tenant_id.clone(),
            external_identifier: item.destination.external_identifier.clone(),
            by_refresh_token,
        };
        let value = sent_value(&probe, &item.encoded)?;
        Some(Witness {
            position,
            digest: self.key().value_digest(value.reveal()),
            probe,
        })
    }

    /// Asks until there is an answer. "Not there" is believed only after `settled_at`: before that, the request may
    /// still be on its way through the API.
    pub(super) async fn settle(
        &self,
        probe: &Probe,
        digest: &Fingerprint,
        settled_at: Instant,
    ) -> Settlement {
        let retry = self.retry();
        let mut delays = Delays::new(&retry);
        let mut attempts = 0;
        while attempts < retry.max_attempts {
            if self.ready().await.is_none() {
                return Settlement::Stopped;
            }
            self.traffic().request(false);
            let wait = match self.client().read_back(probe).await {
                ReadBack::Found(value) if self.key().value_digest(value.reveal()) == *digest => {
                    return Settlement::Committed;
                }
                ReadBack::Found(_) | ReadBack::Absent if Instant::now() >= settled_at => {
                    return Settlement::NotThere;
                }
                ReadBack::Found(_) | ReadBack::Absent => {
                    debug!("not there yet: asking again when the request can no longer be under way");
                    if self.stop().unless_turned(sleep_until(settled_at)).await.is_none() {
                        return Settlement::Stopped;
                    }
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
                    self.rate_limited(retry_after, delays.next());
                    Duration::ZERO
                }
                ReadBack::TryAgain(refusal) => {
                    debug!(code = %refusal.code, "reading back gave no usable answer");
                    delays.next()
                }
            };
            attempts += 1;
            if self.stop().unless_turned(sleep(wait)).await.is_none() {
                return Settlement::Stopped;
            }
        }
        warn!(
            "the outcome of a batch is unknown, and the API does not say: it stays in flight in the ledger"
        );
        Settlement::Unknown
    }
}
