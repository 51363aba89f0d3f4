//! The quota of a pacer: governor's limiter, on a clock that shows scheduled moments.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::config::RateLimit;

/// The API counts requests when they arrive, the pacer when they leave. Spacing them this much wider keeps a
/// request that travelled fast from arriving within the window of one that travelled slowly.
const HEADROOM: f64 = 0.015;

/// The limiter for the current rate. Only the task whose request leaves next holds it.
#[derive(Debug)]
pub(super) struct QuotaLimiter {
    limiter: RateLimiter<NotKeyed, InMemoryState, Schedule, NoOpMiddleware<Duration>>,
    schedule: Schedule,
    /// The limit that the limiter was made for.
    limit: RateLimit,
}

/// governor's clock. It shows the moment for which a request was scheduled, not the moment at which a timer
/// of millisecond steps fired: otherwise the steps would add up to a part of the quota that is never used.
#[derive(Debug, Clone, Default)]
struct Schedule(Arc<AtomicU64>);

impl Clock for Schedule {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }
}

impl Schedule {
    /// Never goes back.
    fn advance_to(&self, at: Duration) {
        self.0
            .fetch_max(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

impl QuotaLimiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self::scheduled(limit, Schedule::default())
    }

    fn scheduled(limit: RateLimit, schedule: Schedule) -> Self {
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        // `with_period` refuses a period of zero only.
        let quota = Quota::with_period(interval(limit))
            .unwrap_or_else(|| Quota::per_second(burst))
            .allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, schedule.clone()),
            schedule,
            limit,
        }
    }

    /// Takes a slot at `moment`, or returns the earliest moment at which there is one. Moments never go back.
    ///
    /// A limiter for a changed limit does not know which requests left before. It begins with nothing to
    /// spend, so that no window that begins before the change holds more than the quota.
    pub(super) fn take(&mut self, limit: RateLimit, moment: Duration) -> Result<(), Duration> {
        self.schedule.advance_to(moment);
        if limit != self.limit {
            *self = Self::scheduled(limit, self.schedule.clone());
            while self.limiter.check().is_ok() {}
        }
        self.limiter.check().map_err(|not_until| {
            let now = self.schedule.now();
            now + not_until.wait_time_from(now)
        })
    }
}

/// The time between two requests, once the burst is spent.
pub(super) fn interval(limit: RateLimit) -> Duration {
    let steady = f64::from(
        limit
            .requests
            .saturating_sub(limit.burst.saturating_sub(1))
            .max(1),
    );
    limit
        .per
        .mul_f64((1.0 + HEADROOM) / steady)
        .max(Duration::from_nanos(1))
}
