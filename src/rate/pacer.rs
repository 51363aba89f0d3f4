//! Every request pays here: governor's quota, and a gate that a 429 closes for all tasks.

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
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::{RunControl, Throttle};
use crate::{
    config::RateLimit,
    domain::{EventKind, EventLog},
    metrics::{Meter, Wait},
};

/// The API counts requests when they arrive, we when they leave. Spacing them this much wider keeps a request that
/// travelled fast from arriving within the window of one that travelled slowly.
const HEADROOM: f64 = 0.015;

/// A timer that wakes us later than this did not merely round: the time is lost, and not made up for.
const LATENESS: Duration = Duration::from_millis(20);

/// Lets requests pass at the configured rate, or the share of it that the throttle leaves; first come, first served.
#[derive(Debug)]
pub struct Pacer {
    turn: Mutex<Turn>,
    quota: RateLimit,
    schedule: Schedule,
    begin: Instant,
    closed_until: watch::Sender<Instant>,
    throttle: Throttle,
    meter: Meter,
    name: &'static str,
    holds: Option<(EventKind, EventLog)>,
}

/// Belongs to whoever leaves next.
#[derive(Debug)]
struct Turn {
    limiter: Limiter,
    /// What the limiter was made for.
    limit: RateLimit,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Schedule, NoOpMiddleware<Duration>>;

/// governor's clock. It shows the moment for which a request was scheduled rather than the moment at which a timer of
/// millisecond steps woke us, so that the steps do not add up to a part of the quota that is never used.
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
    fn show(&self, at: Duration) {
        self.0
            .fetch_max(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

/// Whether a pause holds a request back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pauses {
    Count,
    AreNone,
}

impl Pacer {
    /// A pacer for this quota. In any window of length `per`, at most `requests` leave: a burst of `b` is paid for by
    /// spacing the others as if the quota were smaller by `b - 1`.
    #[must_use]
    pub fn new(quota: RateLimit, control: &RunControl) -> Self {
        let schedule = Schedule::default();
        Self {
            turn: Mutex::new(Turn::new(quota, &schedule)),
            quota,
            schedule,
            begin: Instant::now(),
            closed_until: watch::Sender::new(Instant::now()),
            throttle: control.throttle.clone(),
            meter: control.meter.clone(),
            name: "calls",
            holds: None,
        }
    }

    /// The same under the name that the log gives its quota. Each hold is recorded as an event of this kind.
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

    /// How long after the first of so many requests the last one leaves, if none of them waits for anything else.
    #[must_use]
    pub fn time_for(limit: RateLimit, requests: i64) -> Duration {
        let waiting = requests.saturating_sub(i64::from(limit.burst.max(1))).max(0);
        Duration::try_from_secs_f64(interval(limit).as_secs_f64() * waiting as f64).unwrap_or(Duration::MAX)
    }

    /// Waits until a request may leave, and pays for it. A caller that goes away before its turn pays nothing.
    pub async fn ready(&self) {
        loop {
            self.resumed().await;
            if self.wait_for_slot(Pauses::Count).await {
                return;
            }
        }
    }

    /// The same for a question about what has left already: a pause does not hold it back, as its answer may be another by
    /// the end of it.
    pub async fn ready_to_settle(&self) {
        self.wait_for_slot(Pauses::AreNone).await;
    }

    async fn resumed(&self) {
        let mut throttled = self.throttle.changes();
        while throttled.borrow_and_update().paused {
            let _waiting = self.meter.waiting(Wait::Pause);
            // The throttle is ours: this ends with a change only.
            let _ = throttled.changed().await;
        }
    }

    /// `false` if a pause began first: whoever waits for its end is in nobody's way.
    async fn wait_for_slot(&self, pauses: Pauses) -> bool {
        // tokio's mutex is fair: tasks are served in the order in which they came.
        let mut turn = self.turn.lock().await;
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
                    // Closed for longer meanwhile.
                    _ = closed.changed() => {}
                    _ = throttled.changed() => {}
                }
                scheduled = None;
                continue;
            }
            let now = self.begin.elapsed();
            // Only who waited for a moment may be a little late for it; a pause is not made up for.
            let moment = scheduled.map_or(now, |scheduled| {
                scheduled.max(now.saturating_sub(LATENESS)).min(now)
            });
            self.schedule.show(moment);
            turn.keep_to(self.throttle.share(self.quota, pace), &self.schedule);
            match turn.limiter.check() {
                Ok(()) => return true,
                Err(not_until) => {
                    let earliest = self.schedule.now() + not_until.wait_time_from(self.schedule.now());
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

    /// Closes the gate for all tasks. Of several such orders, the longest counts.
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

    /// How long the gate stays closed.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.closed_until
            .borrow()
            .saturating_duration_since(Instant::now())
    }
}

impl Turn {
    fn new(limit: RateLimit, schedule: &Schedule) -> Self {
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        // `with_period` refuses a period of zero only.
        let quota = Quota::with_period(interval(limit))
            .unwrap_or_else(|| Quota::per_second(burst))
            .allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, schedule.clone()),
            limit,
        }
    }

    /// Goes over to another limit. What has left lately is not known to the new limiter: it begins with nothing to spend, so
    /// that no window that begins before the change holds more than the quota.
    fn keep_to(&mut self, limit: RateLimit, schedule: &Schedule) {
        if limit != self.limit {
            *self = Self::new(limit, schedule);
            while self.limiter.check().is_ok() {}
        }
    }
}

/// Between two requests, once the burst is spent.
fn interval(limit: RateLimit) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, per: Duration, burst: u32) -> RateLimit {
        RateLimit { requests, per, burst }
    }

    fn pacer(limit: RateLimit) -> Pacer {
        Pacer::new(limit, &RunControl::new(limit, Meter::default()))
    }

    /// When each of `count` requests left, all of them wanting to at once.
    async fn departures(pacer: &Arc<Pacer>, count: usize) -> Vec<Duration> {
        let begin = Instant::now();
        let mut left = Vec::new();
        for _ in 0..count {
            pacer.ready().await;
            left.push(begin.elapsed());
        }
        left
    }

    fn most_in_any(window: Duration, left: &[Duration]) -> usize {
        left.iter()
            .map(|&from| {
                left.iter()
                    .filter(|&&at| at >= from && at < from + window)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_holds_more_than_the_quota_and_nearly_all_of_it_is_used() {
        for (requests, per, burst) in [(100, 60, 1), (1000, 10, 1), (50, 1, 1), (100, 60, 10), (7, 1, 7)] {
            let per = Duration::from_secs(per);
            let pacer = Arc::new(pacer(limit(requests, per, burst)));
            let left = departures(&pacer, requests as usize * 5).await;
            assert!(
                most_in_any(per, &left) <= requests as usize,
                "{requests} per {per:?}, burst {burst}"
            );
            if burst == 1 {
                let used =
                    left.len() as f64 / f64::from(requests) / left.last().unwrap().div_duration_f64(per);
                assert!(used > 0.98, "{requests} per {per:?}: only {used} of the quota");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_requests_is_known_beforehand() {
        for (requests, per, burst, count) in
            [(100, 60, 1, 41), (100, 60, 10, 200), (50, 1, 1, 1), (7, 1, 7, 5)]
        {
            let limit = limit(requests, Duration::from_secs(per), burst);
            let left = departures(&Arc::new(pacer(limit)), count).await;
            let expected = Pacer::time_for(limit, i64::try_from(count).unwrap());
            assert!(
                left.last().unwrap().abs_diff(expected) < Duration::from_millis(5),
                "{left:?} {expected:?}"
            );
        }
        assert_eq!(
            Pacer::time_for(limit(100, Duration::from_secs(60), 1), 0),
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_made_up_for() {
        let pacer = Arc::new(pacer(limit(10, Duration::from_secs(1), 1)));
        pacer.ready().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(most_in_any(Duration::from_secs(1), &departures(&pacer, 30).await) <= 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lets_questions_about_what_has_left_pass_at_the_same_quota() {
        let limit = limit(10, Duration::from_secs(1), 1);
        let control = RunControl::new(limit, Meter::default());
        let pacer = Arc::new(Pacer::new(limit, &control));
        control.throttle.pause();
        let waiting = tokio::spawn({
            let pacer = Arc::clone(&pacer);
            async move { pacer.ready().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        for _ in 0..10 {
            pacer.ready_to_settle().await;
        }
        assert!(
            begin.elapsed() >= Duration::from_millis(900),
            "{:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert!(!waiting.is_finished());
        control.throttle.resume();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_stops_everyone_until_it_is_over_and_the_longest_counts() {
        let pacer = Arc::new(pacer(limit(1000, Duration::from_secs(1), 1)));
        pacer.hold(Duration::from_secs(5));
        pacer.hold(Duration::from_secs(2));
        let begin = Instant::now();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let pacer = Arc::clone(&pacer);
                tokio::spawn(async move { pacer.ready().await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(4)).await;
        // Extended while everyone waits.
        pacer.hold(Duration::from_secs(6));
        for task in waiting {
            task.await.unwrap();
        }
        assert!(
            begin.elapsed() >= Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_before_its_turn_pays_nothing() {
        let pacer = pacer(limit(1, Duration::from_secs(10), 1));
        pacer.ready().await;
        assert!(
            tokio::time::timeout(Duration::from_secs(3), pacer.ready())
                .await
                .is_err()
        );
        let begin = Instant::now();
        pacer.ready().await;
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_during_a_pause_and_everyone_after_it() {
        let quota = limit(10, Duration::from_secs(1), 1);
        let control = RunControl::new(quota, Meter::default());
        let pacer = Arc::new(Pacer::new(quota, &control));
        pacer.ready().await;
        control.throttle.pause();
        let waiting = tokio::spawn({
            let pacer = Arc::clone(&pacer);
            async move { departures(&pacer, 20).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        control.throttle.resume();
        let left = waiting.await.unwrap();
        assert!(left[0] >= Duration::from_secs(3600), "{left:?}");
        assert!(most_in_any(Duration::from_secs(1), &left) <= 10, "{left:?}");
        assert_eq!(control.meter.waited(Wait::Pause).as_secs(), 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_shorten_what_the_api_asked_for() {
        let quota = limit(10, Duration::from_secs(1), 1);
        let control = RunControl::new(quota, Meter::default());
        let pacer = Pacer::new(quota, &control);
        let begin = Instant::now();
        pacer.hold(Duration::from_secs(100));
        control.throttle.pause();
        tokio::join!(pacer.ready(), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            control.throttle.resume();
        });
        assert_eq!(begin.elapsed().as_secs(), 100);
        assert_eq!(
            (
                control.meter.waited(Wait::Pause).as_secs(),
                control.meter.waited(Wait::RetryAfter).as_secs()
            ),
            (30, 70)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_changes_keeps_to_the_quota_at_every_moment() {
        for burst in [1, 10] {
            let (per, quota) = (
                Duration::from_secs(60),
                limit(100, Duration::from_secs(60), burst),
            );
            let control = RunControl::new(quota, Meter::default());
            let pacer = Arc::new(Pacer::new(quota, &control));
            let leaving = tokio::spawn({
                let pacer = Arc::clone(&pacer);
                async move { departures(&pacer, 500).await }
            });
            for requests in [100, 20, 100, 50, 100, 1, 100] {
                control.throttle.slow_to(requests).unwrap();
                tokio::time::sleep(Duration::from_secs(61)).await;
            }
            let left = leaving.await.unwrap();
            assert!(most_in_any(per, &left) <= 100, "burst {burst}: {left:?}");
            // From the change on, at most what was asked for.
            let slow = left.iter().filter(|at| (61..121).contains(&at.as_secs())).count();
            assert!((15..=20).contains(&slow), "burst {burst}: {slow} {left:?}");
            let slower = left
                .iter()
                .filter(|at| (305..365).contains(&at.as_secs()))
                .count();
            assert!(slower <= 1, "burst {burst}: {slower} {left:?}");
        }
    }
}
