//! The pacer: every request waits here for its quota, and for a gate that a 429 closes for all tasks. The
//! quota is governor's, or one that all processes with the ledger share.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    RunControl, Throttle,
    adaptive_rate::AdaptiveRate,
    quota_limiter::{QuotaLimiter, interval},
    shared_slots::SharedSlots,
};
use crate::{
    config::RateLimit,
    domain::{EventKind, EventLog},
    ledger::{LedgerError, SharedQuota},
    metrics::{Meter, Wait},
};

/// A timer that fires later than this did not merely round: the lost time is not made up for.
const LATENESS: Duration = Duration::from_millis(20);

/// Lets requests pass at the configured rate, or at the lower one of the throttle, in the order of their
/// arrival.
#[derive(Debug)]
pub struct Pacer {
    queue: Mutex<Queue>,
    quota: RateLimit,
    /// The rate that the API allows, if the quota is not shared.
    adaptive: sync::Mutex<AdaptiveRate>,
    shared: Option<Sharing>,
    /// The time between two requests that was announced last.
    announced: sync::Mutex<Duration>,
    begin: Instant,
    closed_until: watch::Sender<Instant>,
    throttle: Throttle,
    meter: Meter,
    name: &'static str,
    holds: Option<(EventKind, EventLog)>,
}

/// The slots of the task whose request leaves next.
#[derive(Debug)]
struct Queue {
    limiter: QuotaLimiter,
    shared: Option<SharedSlots>,
}

/// A quota that is shared, and the receiver of its failure.
#[derive(Debug)]
struct Sharing {
    quota: SharedQuota,
    failures: mpsc::Sender<LedgerError>,
}

/// The effect of a pause on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pauses {
    Count,
    AreNone,
}

impl Pacer {
    /// Returns a pacer for this quota. In any window of length `per`, at most `requests` leave: to allow a
    /// burst of `b`, the others are spaced as if the quota were smaller by `b - 1`.
    #[must_use]
    pub fn new(quota: RateLimit, control: &RunControl) -> Self {
        Self {
            queue: Mutex::new(Queue {
                limiter: QuotaLimiter::new(quota),
                shared: None,
            }),
            quota,
            adaptive: sync::Mutex::new(AdaptiveRate::new(quota)),
            shared: None,
            announced: sync::Mutex::new(interval(quota)),
            begin: Instant::now(),
            closed_until: watch::Sender::new(Instant::now()),
            throttle: control.throttle.clone(),
            meter: control.meter.clone(),
            name: "calls",
            holds: None,
        }
    }

    /// Shares the quota with other processes. If the ledger fails, its error goes to `failures`, and no
    /// request leaves any more.
    #[must_use]
    pub fn sharing(self, quota: SharedQuota, failures: mpsc::Sender<LedgerError>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                limiter: QuotaLimiter::new(self.quota),
                shared: Some(SharedSlots::new(quota.clone())),
            }),
            shared: Some(Sharing { quota, failures }),
            ..self
        }
    }

    /// Names the quota for the log, and records each hold as an event of this kind.
    #[must_use]
    pub fn recording(self, name: &'static str, kind: EventKind, event_log: EventLog) -> Self {
        Self {
            name,
            holds: Some((kind, event_log)),
            ..self
        }
    }

    /// The name of its quota.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the time between the first and the last of `requests`, if none of them waits for anything
    /// else.
    #[must_use]
    pub fn time_for(limit: RateLimit, requests: i64) -> Duration {
        let waiting = requests.saturating_sub(i64::from(limit.burst.max(1))).max(0);
        Duration::try_from_secs_f64(interval(limit).as_secs_f64() * waiting as f64).unwrap_or(Duration::MAX)
    }

    /// Waits until a request may leave, and takes its slot. A cancelled caller takes none.
    pub async fn acquire(&self) {
        loop {
            self.resumed().await;
            if self.wait_for_slot(Pauses::Count).await {
                return;
            }
        }
    }

    /// Like [`acquire`](Self::acquire), but ignores pauses: a read-back must not wait, since its answer may
    /// change meanwhile.
    pub async fn acquire_through_pauses(&self) {
        self.wait_for_slot(Pauses::AreNone).await;
    }

    async fn resumed(&self) {
        let mut throttled = self.throttle.changes();
        while throttled.borrow_and_update().paused {
            let _waiting = self.meter.waiting(Wait::Pause);
            // The pacer holds the throttle, so this ends only with a change.
            let _ = throttled.changed().await;
        }
    }

    /// Returns `false` if a pause began first: a task that waits for its end must not hold the lock.
    async fn wait_for_slot(&self, pauses: Pauses) -> bool {
        // tokio's mutex is fair: tasks are served in the order in which they came.
        let mut queue = self.queue.lock().await;
        let Queue { limiter, shared } = &mut *queue;
        let mut closed = self.closed_until.subscribe();
        let mut throttled = self.throttle.changes();
        let mut scheduled: Option<Duration> = None;
        let mut is_paid = false;
        loop {
            let pace = *throttled.borrow_and_update();
            if pace.paused && pauses == Pauses::Count {
                return false;
            }
            let open_at = *closed.borrow_and_update();
            if open_at > Instant::now() {
                let _waiting = self.meter.waiting(Wait::RetryAfter);
                tokio::select! {
                    () = sleep_until(open_at) => {}
                    // The gate was closed for longer meanwhile.
                    _ = closed.changed() => {}
                    _ = throttled.changed() => {}
                }
                scheduled = None;
                continue;
            }
            let now = self.begin.elapsed();
            // Only a task that waited for a moment may be a little late for it: time without requests is not
            // made up for.
            let moment = scheduled.map_or(now, |scheduled| {
                scheduled.max(now.saturating_sub(LATENESS)).min(now)
            });
            // A run that is slowed down keeps to its own rate as well as to the shared quota.
            let is_own = shared.is_none() || pace.requests < self.throttle.configured().requests;
            let due = match shared {
                _ if is_own && !is_paid => {
                    match limiter.take(self.throttle.share(self.own_limit(), pace), moment) {
                        Ok(()) => {
                            is_paid = true;
                            continue;
                        }
                        Err(earliest) => {
                            scheduled = Some(earliest);
                            self.begin + earliest
                        }
                    }
                }
                None => return true,
                Some(slots) => match self.next_shared(slots).await {
                    Some(due) if due > Instant::now() => due,
                    Some(_) if self.take_shared(slots).await => return true,
                    _ => continue,
                },
            };
            let _waiting = self.meter.waiting(Wait::Quota);
            tokio::select! {
                () = sleep_until(due) => {}
                _ = closed.changed() => {}
                _ = throttled.changed() => {}
            }
        }
    }

    /// Returns the moment of the next shared slot; `None` if the API has asked to wait first.
    async fn next_shared(&self, slots: &mut SharedSlots) -> Option<Instant> {
        let next = self.unless_failed(slots.next().await).await;
        self.announce(next.step);
        if next.held_for > Duration::ZERO {
            // Another process, perhaps of an earlier run, was told to wait.
            self.close_until(Instant::now() + next.held_for);
            return None;
        }
        Some(next.at)
    }

    async fn take_shared(&self, slots: &mut SharedSlots) -> bool {
        self.unless_failed(slots.take().await).await
    }

    /// Reports a failure of the ledger and never returns then: the run ends, and no request may leave.
    async fn unless_failed<T>(&self, done: Result<T, LedgerError>) -> T {
        match done {
            Ok(value) => value,
            Err(error) => {
                self.report(error);
                std::future::pending().await
            }
        }
    }

    fn report(&self, error: LedgerError) {
        if let Some(sharing) = &self.shared {
            // Another failure may have been reported before.
            let _ = sharing.failures.try_send(error);
        }
    }

    /// Returns the rate of a quota that is not shared; of a shared one, the configured rate.
    fn own_limit(&self) -> RateLimit {
        match self.shared {
            Some(_) => self.quota,
            None => {
                let limit = lock(&self.adaptive).limit();
                self.announce(interval(limit));
                limit
            }
        }
    }

    /// Tells about a rate that has changed.
    fn announce(&self, step: Duration) {
        let mut announced = lock(&self.announced);
        let before = *announced;
        // The ledger's numbers are rounded.
        if (before.div_duration_f64(step) - 1.0).abs() < 0.01 {
            return;
        }
        *announced = step;
        drop(announced);
        let requests = self.allowed().requests;
        let (quota, per) = (self.name, humantime::format_duration(self.quota.per));
        if step > before {
            warn!(
                quota,
                requests,
                per = %per,
                "the API answered 429 repeatedly, sending requests at a lower rate"
            );
        } else {
            info!(quota, requests, per = %per, "sending requests at a higher rate");
        }
        if let Some((_, event_log)) = &self.holds {
            let detail = format!("{quota}: {requests} requests per {per}");
            event_log.record(EventKind::RateChanged, Some(detail));
        }
    }

    /// Closes the gate for all tasks, and for all processes that share the quota. The longest of several
    /// holds counts. Repeated holds lower the rate.
    pub async fn hold(&self, wait: Duration) {
        let now = Instant::now();
        if let Some((kind, event_log)) = &self.holds {
            event_log.record_span(*kind, now, now + wait);
        }
        self.close_until(now + wait);
        match &self.shared {
            None => {
                let lowered = lock(&self.adaptive).record_hold(wait);
                if let Some(limit) = lowered {
                    self.announce(interval(limit));
                }
            }
            Some(sharing) => match sharing.quota.hold(wait).await {
                Ok(step) => self.announce(step),
                Err(error) => self.report(error),
            },
        }
    }

    fn close_until(&self, until: Instant) {
        self.closed_until.send_if_modified(|closed| {
            let longer = until > *closed;
            if longer {
                *closed = until;
            }
            longer
        });
    }

    /// Returns the rate that the API allows now.
    #[must_use]
    pub fn allowed(&self) -> RateLimit {
        let step = *lock(&self.announced);
        self.quota.scaled(interval(self.quota).div_duration_f64(step))
    }

    /// Returns the time for which the gate stays closed.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.closed_until
            .borrow()
            .saturating_duration_since(Instant::now())
    }
}

fn lock<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    // Every change under the lock is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
