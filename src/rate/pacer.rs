//! The pacer: every request waits here for governor's quota, and for a gate that a 429 closes for all tasks.

use std::time::Duration;

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::{
    RunControl, Throttle,
    quota_limiter::{QuotaLimiter, interval},
};
use crate::{
    config::RateLimit,
    domain::{EventKind, EventLog},
    metrics::{Meter, Wait},
};

/// A timer that fires later than this did not merely round: the lost time is not made up for.
const LATENESS: Duration = Duration::from_millis(20);

/// Lets requests pass at the configured rate, or at the lower one of the throttle, in the order of their
/// arrival.
#[derive(Debug)]
pub struct Pacer {
    limiter: Mutex<QuotaLimiter>,
    quota: RateLimit,
    begin: Instant,
    closed_until: watch::Sender<Instant>,
    throttle: Throttle,
    meter: Meter,
    name: &'static str,
    holds: Option<(EventKind, EventLog)>,
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
            limiter: Mutex::new(QuotaLimiter::new(quota)),
            quota,
            begin: Instant::now(),
            closed_until: watch::Sender::new(Instant::now()),
            throttle: control.throttle.clone(),
            meter: control.meter.clone(),
            name: "calls",
            holds: None,
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
    pub async fn acquire_for_read_back(&self) {
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
        let mut limiter = self.limiter.lock().await;
        let mut closed = self.closed_until.subscribe();
        let mut throttled = self.throttle.changes();
        let mut scheduled: Option<Duration> = None;
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
            match limiter.take(self.throttle.share(self.quota, pace), moment) {
                Ok(()) => return true,
                Err(earliest) => {
                    scheduled = Some(earliest);
                    let _waiting = self.meter.waiting(Wait::Quota);
                    tokio::select! {
                        () = sleep_until(self.begin + earliest) => {}
                        _ = closed.changed() => {}
                        _ = throttled.changed() => {}
                    }
                }
            }
        }
    }

    /// Closes the gate for all tasks. The longest of several holds counts.
    pub fn hold(&self, wait: Duration) {
        let now = Instant::now();
        let until = now + wait;
        if let Some((kind, event_log)) = &self.holds {
            event_log.record_span(*kind, now, until);
        }
        self.closed_until.send_if_modified(|closed| {
            let longer = until > *closed;
            if longer {
                *closed = until;
            }
            longer
        });
    }

    /// Returns the time for which the gate stays closed.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.closed_until
            .borrow()
            .saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests;
