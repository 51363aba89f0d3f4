//! Size limit of batches: what all deliveries of a run learn about it, and the order in which larger batches
//! are tried.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::size_search::SizeSearch;
use crate::{
    config::BatchSettings,
    descope::BODY_OVERHEAD,
    domain::{Batch, BatchSize, Call, LearnedSizes, Subject},
};

/// The longest wait for the outcome of a batch that is larger than any that was stored. An API that takes
/// longer may reject a few more batches.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The part of the API's timeout that a quick response takes at most. Batches grow as long as responses are
/// quick: a larger one must not come near the timeout.
const QUICK: u32 = 6;

/// Returns the time within which a response is quick.
pub(super) fn quick(timeout: Duration) -> Duration {
    timeout / QUICK
}

/// The allowed size of the batches of a run, by endpoint. Clones share it.
#[derive(Debug, Clone)]
pub struct SizeLimit {
    /// The longest wait for the outcome of another batch.
    patience: Duration,
    user: Arc<Endpoint>,
    tenant: Arc<Endpoint>,
}

/// The limit at the endpoint of one subject.
#[derive(Debug)]
struct Endpoint {
    state: Mutex<State>,
    /// Notified when a trial ends.
    released: Notify,
    /// Held while what was learned is stored, so that the latest is stored last.
    saving: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    search: SizeSearch,
    /// Batches in flight that are larger than any that was stored.
    trials: usize,
}

/// A batch that may be sent now.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) batch: Batch,
    /// The part that has to wait.
    pub(super) rest: Option<Batch>,
    /// Held until the outcome of the batch was learned from, if it is larger than any that was stored.
    pub(super) trial: Option<Trial>,
}

/// A batch in flight that is larger than any that was stored. Others of that size wait for its outcome.
#[derive(Debug)]
pub(super) struct Trial(Arc<Endpoint>);

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.lock().trials -= 1;
        self.0.released.notify_waiters();
    }
}

/// Returns the size of the request with this batch.
pub(super) fn size_of(batch: &Batch) -> BatchSize {
    size_of_first(batch, batch.items.len())
}

impl SizeLimit {
    /// Returns a limit that starts with the configured size, or with what earlier runs learned, in the order
    /// of [`Subject::ALL`]. `timeout` is that of requests.
    #[must_use]
    pub fn new(settings: &BatchSettings, timeout: Duration, learned: [Option<LearnedSizes>; 2]) -> Self {
        let start = BatchSize {
            tokens: settings.max_tokens,
            bytes: settings.max_bytes,
        };
        let endpoint = |learned| {
            Arc::new(Endpoint {
                state: Mutex::new(State {
                    search: SizeSearch::new(start, settings.growth_limit(), learned),
                    trials: 0,
                }),
                released: Notify::new(),
                saving: tokio::sync::Mutex::default(),
            })
        };
        let [user, tenant] = learned.map(endpoint);
        Self {
            patience: quick(timeout).min(LONGEST_WAIT),
            user,
            tenant,
        }
    }

    /// Returns the current limit.
    #[must_use]
    pub fn get(&self, subject: Subject) -> BatchSize {
        self.search(subject, |search| search.limit())
    }

    /// Returns true if batches may become larger than the current limit.
    #[must_use]
    pub fn may_grow(&self, subject: Subject) -> bool {
        self.search(subject, |search| search.may_grow())
    }

    /// Reads or changes what is known about an endpoint.
    pub(super) fn search<T>(&self, subject: Subject, look: impl FnOnce(&mut SizeSearch) -> T) -> T {
        look(&mut self.endpoint(subject).lock().search)
    }

    /// Waits while a batch is in flight that is larger than any that was stored, for a limited time: its
    /// outcome may change the limit, and what is cut before leaves small batches behind.
    pub async fn settled(&self) {
        let until = Instant::now() + self.patience;
        for endpoint in [&self.user, &self.tenant] {
            loop {
                let mut released = std::pin::pin!(endpoint.released.notified());
                released.as_mut().enable();
                if endpoint.lock().trials == 0 || Instant::now() >= until {
                    break;
                }
                tokio::select! {
                    () = released => {}
                    () = sleep_until(until) => {}
                }
            }
        }
    }

    /// Cuts a batch to the current limit. A batch larger than any that was stored waits while another one of
    /// them is in flight, for a limited time: so the API rejects one of them, and not as many as are in
    /// flight.
    pub(super) async fn admit(&self, batch: Batch) -> Admitted {
        if batch.call == Call::Single {
            return Admitted {
                batch,
                rest: None,
                trial: None,
            };
        }
        let endpoint = self.endpoint(batch.subject);
        let until = Instant::now() + self.patience;
        loop {
            let mut released = std::pin::pin!(endpoint.released.notified());
            released.as_mut().enable();
            if let Some((count, trial)) = endpoint.enter(&batch, until) {
                let (batch, rest) = split(batch, count);
                return Admitted { batch, rest, trial };
            }
            tokio::select! {
                () = released => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Stores what was learned since the last call with `save`, if there is anything.
    pub(super) async fn save_news<E>(
        &self,
        subject: Subject,
        save: impl AsyncFnOnce(LearnedSizes) -> Result<(), E>,
    ) -> Result<(), E> {
        let _saving = self.endpoint(subject).saving.lock().await;
        match self.search(subject, SizeSearch::take_news) {
            Some(learned) => save(learned).await,
            None => Ok(()),
        }
    }

    /// Cuts a batch to the size of which the API stores all.
    pub(super) fn cut_to_whole(&self, batch: Batch) -> (Batch, Option<Batch>) {
        let whole = self.search(batch.subject, |search| search.whole());
        split(batch, whole)
    }

    /// Returns true if the end of this batch must be read back before it counts as stored.
    pub(super) fn needs_proof(&self, batch: &Batch) -> bool {
        batch.call == Call::Batch && !self.search(batch.subject, |search| search.is_whole(batch.items.len()))
    }

    fn endpoint(&self, subject: Subject) -> &Arc<Endpoint> {
        match subject {
            Subject::User => &self.user,
            Subject::Tenant => &self.tenant,
        }
    }
}

impl Endpoint {
    /// Returns the number of tokens of the batch that may be sent now; `None` if it has to wait.
    fn enter(self: &Arc<Self>, batch: &Batch, until: Instant) -> Option<(usize, Option<Trial>)> {
        let mut state = self.lock();
        let count = fitting(batch, state.search.limit());
        let size = size_of_first(batch, count);
        if state.search.is_proven(size) {
            return Some((count, None));
        }
        if state.trials > 0 && Instant::now() < until {
            return None;
        }
        state.trials += 1;
        Some((count, Some(Trial(Arc::clone(self)))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of tokens within the limit. A token that exceeds it is sent alone, because only the API
/// knows whether it is too large.
fn fitting(batch: &Batch, most: BatchSize) -> usize {
    let mut bytes = BODY_OVERHEAD;
    let fitting = batch.items.iter().take(most.tokens).take_while(|item| {
        bytes += item.encoded.len() + 1;
        // The first token has no comma before it.
        bytes - 1 <= most.bytes
    });
    fitting.count().max(1)
}

fn size_of_first(batch: &Batch, count: usize) -> BatchSize {
    let encoded: usize = batch
        .items
        .iter()
        .take(count)
        .map(|item| item.encoded.len())
        .sum();
    BatchSize {
        tokens: count,
        bytes: BODY_OVERHEAD + encoded + count.saturating_sub(1),
    }
}

fn split(mut batch: Batch, count: usize) -> (Batch, Option<Batch>) {
    if count >= batch.items.len() {
        return (batch, None);
    }
    let rest = Batch {
        subject: batch.subject,
        call: batch.call,
        items: batch.items.split_off(count),
        parent: batch.parent,
    };
    (batch, Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{OnFailure, OnUnknown},
        descope::RequestBody,
        domain::{Destination, Item},
    };

    const SETTINGS: BatchSettings = BatchSettings {
        max_tokens: 10,
        max_bytes: 1 << 20,
        grow_to: 40,
        concurrency: 4,
        on_failure: OnFailure::Isolate,
        on_unknown: OnUnknown::Ask,
        verify_refresh: false,
    };

    fn batch(keys: usize) -> Batch {
        Batch {
            subject: Subject::User,
            call: Call::Batch,
            items: (0..keys)
                .map(|key| Item::example(&key.to_string(), Destination::user("app", key.to_string())))
                .collect(),
            parent: Some(7),
        }
    }

    #[test]
    fn a_batch_is_cut_to_what_may_be_sent_and_a_large_token_goes_alone() {
        let most = |tokens, bytes| BatchSize { tokens, bytes };
        let whole = batch(10);
        assert_eq!(fitting(&whole, size_of(&whole)), 10);
        assert_eq!(size_of(&whole).bytes, RequestBody::size(&whole));
        assert_eq!(fitting(&whole, most(5, 1 << 20)), 5);
        assert_eq!(fitting(&whole, most(10, size_of(&whole).bytes - 1)), 9);
        assert_eq!(fitting(&whole, most(10, 1)), 1);
        let (first, rest) = split(whole, 1);
        assert_eq!(
            (
                first.items.len(),
                rest.map(|rest| (rest.items.len(), rest.parent))
            ),
            (1, Some((9, Some(7))))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn batches_that_no_one_knows_to_fit_wait_for_the_first_of_them() {
        let limit = SizeLimit::new(&SETTINGS, Duration::from_secs(30), [None, None]);
        let first = limit.admit(batch(10)).await;
        assert!(first.trial.is_some());
        let second = tokio::spawn({
            let limit = limit.clone();
            async move { limit.admit(batch(10)).await }
        });
        tokio::time::sleep(LONGEST_WAIT / 2).await;
        assert!(!second.is_finished());
        limit.search(Subject::User, |search| {
            search.accept(size_of(&first.batch), true);
        });
        drop(first);
        let second = second.await.unwrap();
        assert!(
            second.trial.is_none() && second.rest.is_none(),
            "it is known to fit"
        );
        // The other endpoint knows nothing yet.
        let tenants = Batch {
            subject: Subject::Tenant,
            ..batch(10)
        };
        assert!(limit.admit(tenants).await.trial.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_slow_one_for_long() {
        let limit = SizeLimit::new(&SETTINGS, Duration::from_secs(30), [None, None]);
        let _slow = limit.admit(batch(10)).await;
        let begin = Instant::now();
        limit.settled().await;
        assert_eq!(begin.elapsed(), LONGEST_WAIT);
        let second = limit.admit(batch(10)).await;
        assert!(second.trial.is_some());
        assert_eq!(begin.elapsed(), LONGEST_WAIT * 2);
    }
}
