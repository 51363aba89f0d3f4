//! Retry loop: attempts, with backoff and jitter in between. The one place that knows the crate `backoff`.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};
use tokio::time::sleep;
use tracing::info;

use super::{Pacer, StopSignal};
use crate::{config::RetrySettings, domain::StopReason};

/// The number of consecutive 429 answers that ends the run. With the default pauses that is seven minutes, or
/// longer if the API asks for it. It does not depend on the number of retries: a quota is not a failure.
const MOST_RATE_LIMITED: u32 = 20;

/// The attempts at one request. Each waits for the quota, and the delays between them grow.
#[derive(Debug)]
pub struct RetryLoop<'a> {
    pacer: &'a Pacer,
    stop: &'a StopSignal,
    most: u32,
    longest_wait: Duration,
    made: u32,
    /// Failed attempts. A 429 is not one of them: it says nothing about the request.
    failed: u32,
    /// Answers 429 in a row.
    rate_limited: u32,
    delays: Delays,
    through_pauses: bool,
}

impl<'a> RetryLoop<'a> {
    /// Returns a loop with these pauses whose attempts wait for `pacer`, until `stop` is triggered.
    #[must_use]
    pub fn new(settings: &RetrySettings, pacer: &'a Pacer, stop: &'a StopSignal) -> Self {
        Self {
            pacer,
            stop,
            most: settings.max_attempts,
            longest_wait: settings.max_retry_after,
            made: 0,
            failed: 0,
            rate_limited: 0,
            delays: Delays::new(settings),
            through_pauses: false,
        }
    }

    /// The same for a question about what has left already: a pause does not hold it back.
    #[must_use]
    pub fn through_pauses(self) -> Self {
        Self {
            through_pauses: true,
            ..self
        }
    }

    /// Waits for the quota; gives the number of the attempt, from 1, or `None` if the run was stopped first.
    pub async fn start(&mut self) -> Option<u32> {
        let ready = async {
            if self.through_pauses {
                self.pacer.acquire_through_pauses().await;
            } else {
                self.pacer.acquire().await;
            }
        };
        self.stop.run_until_stopped(ready).await?;
        Some(self.number())
    }

    /// The number of the attempt that is being made, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.made + 1
    }

    /// Waits after an attempt that came to nothing; `false` if it was the last one. If the run is stopped
    /// meanwhile, [`start`](Self::start) notices.
    pub async fn wait_after_failure(&mut self, wait: Duration) -> bool {
        self.made += 1;
        self.failed += 1;
        self.rate_limited = 0;
        if self.failed >= self.most {
            return false;
        }
        self.stop.run_until_stopped(sleep(wait)).await;
        true
    }

    /// Handles a 429. Holds the pacer, and with it all requests of its quota, for the longer of the API's
    /// wait and the own growing pause, since the API may ask for no wait or an absurd one. Returns the wait;
    /// [`start`](Self::start) makes it. It uses up no attempt. If the API never lets the request pass, or
    /// asks for a longer wait than is allowed, the run ends: `None`.
    pub async fn rate_limited(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.made += 1;
        self.rate_limited += 1;
        let asked = retry_after.unwrap_or_default();
        let reason = if asked > self.longest_wait {
            format!(
                "the API asked to wait for {}, longer than `api.retry.max_retry_after` allows",
                humantime::format_duration(Duration::from_secs(asked.as_secs()))
            )
        } else if self.rate_limited >= MOST_RATE_LIMITED {
            format!(
                "the API answered 429 to one request {} times in a row, however long each wait was. Its quota is lower than `api.rate_limit`, or others use it up: lower that, or run again \
                 later",
                self.rate_limited
            )
        } else {
            let wait = asked.max(self.delay().min(self.longest_wait));
            info!(
                status = 429,
                code = "rate_limited",
                quota = self.pacer.name(),
                wait_s = wait.as_secs_f64(),
                "rate limited, holding requests"
            );
            self.pacer.hold(wait).await;
            return Some(wait);
        };
        self.stop.trigger(StopReason::Endpoint(reason));
        None
    }

    /// Returns the wait if the API does not ask for one.
    pub fn delay(&mut self) -> Duration {
        self.delays.next()
    }
}

/// Growing pauses with jitter.
#[derive(Debug)]
struct Delays(ExponentialBackoff);

impl Delays {
    fn new(settings: &RetrySettings) -> Self {
        Self(ExponentialBackoff {
            current_interval: settings.initial_interval,
            initial_interval: settings.initial_interval,
            max_interval: settings.max_interval,
            multiplier: 2.0,
            // Half above and half below, so that tasks that failed together do not come back together.
            randomization_factor: 0.5,
            // Attempts are counted, time is not: a long `Retry-After` must not use them up.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{config::RateLimit, domain::StopReason, metrics::Meter, rate::RunControl};

    const SETTINGS: RetrySettings = RetrySettings {
        max_attempts: 8,
        initial_interval: Duration::from_millis(500),
        max_interval: Duration::from_secs(30),
        max_retry_after: Duration::from_secs(900),
    };

    fn pacer() -> Pacer {
        let quota = RateLimit {
            requests: 1,
            per: Duration::from_secs(1),
            burst: 1,
        };
        Pacer::new(quota, &RunControl::new(quota, Meter::default()))
    }

    #[test]
    fn pauses_grow_to_their_limit_with_jitter() {
        let mut delays = Delays::new(&SETTINGS);
        for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let pause = delays.next().as_secs_f64();
            assert!(
                pause >= expected * 0.5 && pause <= expected * 1.5 + 0.001,
                "{pause} for {expected}"
            );
        }
        let first: Vec<_> = (0..20).map(|_| Delays::new(&SETTINGS).next()).collect();
        assert!(first.iter().any(|pause| *pause != first[0]), "no jitter");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted_and_the_last_one_is_not_waited_after() {
        let (pacer, stop) = (pacer(), StopSignal::new());
        let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
        let begin = Instant::now();
        let mut numbers = Vec::new();
        loop {
            numbers.extend(attempts.start().await);
            if !attempts.wait_after_failure(Duration::from_secs(10)).await {
                break;
            }
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(begin.elapsed().as_secs(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_pays_and_a_gate_that_the_api_closed_is_waited_for() {
        let (pacer, stop) = (pacer(), StopSignal::new());
        let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
        let begin = Instant::now();
        // Nothing is waited between them but the quota of one in a second.
        for number in 1..=4 {
            assert_eq!(attempts.start().await, Some(number));
            attempts.wait_after_failure(Duration::ZERO).await;
        }
        assert_eq!(begin.elapsed().as_secs(), 3);
        // `Retry-After: 100`.
        pacer.hold(Duration::from_secs(100)).await;
        assert_eq!(attempts.start().await, Some(5));
        assert_eq!(begin.elapsed().as_secs(), 103);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_always_makes_all_wait_and_uses_up_no_attempt() {
        let seconds = Duration::from_secs;
        for asked in [None, Some(Duration::ZERO), Some(seconds(100))] {
            let (pacer, stop) = (pacer(), StopSignal::new());
            let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
            let mut waits = Vec::new();
            for number in 1..8 {
                assert_eq!(attempts.start().await, Some(number));
                let begin = Instant::now();
                let wait = attempts.rate_limited(asked).await.unwrap();
                assert!(wait >= asked.unwrap_or_default(), "{asked:?}");
                assert_eq!(pacer.held_for(), wait);
                pacer.acquire().await;
                assert!(begin.elapsed() >= wait, "{asked:?}");
                waits.push(wait.as_secs_f64());
            }
            let grown = if asked == Some(seconds(100)) { 100.0 } else { 15.0 };
            assert!(waits[0] >= 0.25 && waits[6] >= grown, "{asked:?}: {waits:?}");
            assert_eq!(attempts.start().await, Some(8));
            assert!(
                attempts.wait_after_failure(Duration::ZERO).await,
                "the first that failed"
            );
            assert!(!stop.is_triggered());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_answers_429_for_ever_or_asks_for_too_long_ends_the_run() {
        let (pacer, stop) = (pacer(), StopSignal::new());
        let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
        for _ in 1..MOST_RATE_LIMITED {
            assert!(attempts.rate_limited(None).await.is_some());
        }
        // Something else in between: they have to be in a row.
        attempts.wait_after_failure(Duration::ZERO).await;
        for _ in 1..MOST_RATE_LIMITED {
            assert!(attempts.rate_limited(None).await.is_some());
        }
        assert!(!stop.is_triggered());
        assert_eq!(attempts.rate_limited(None).await, None);
        let Some(StopReason::Endpoint(text)) = stop.reason() else {
            panic!("{:?}", stop.reason())
        };
        assert!(text.contains("429 to one request 20 times in a row"), "{text}");

        let stop = StopSignal::new();
        let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
        assert!(
            attempts
                .rate_limited(Some(SETTINGS.max_retry_after))
                .await
                .is_some()
        );
        assert_eq!(
            attempts.rate_limited(Some(Duration::from_secs(u64::MAX))).await,
            None
        );
        let Some(StopReason::Endpoint(text)) = stop.reason() else {
            panic!("{:?}", stop.reason())
        };
        assert!(text.contains("`api.retry.max_retry_after`"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_pauses_and_waiting_for_the_quota() {
        let (pacer, stop) = (pacer(), StopSignal::new());
        let mut attempts = RetryLoop::new(&SETTINGS, &pacer, &stop);
        assert_eq!(attempts.start().await, Some(1));
        pacer.hold(Duration::from_secs(1000)).await;
        let turned = stop.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(5)).await;
            turned.trigger(StopReason::Signal(15));
        });
        let begin = Instant::now();
        assert!(attempts.wait_after_failure(Duration::from_secs(500)).await);
        assert_eq!(attempts.start().await, None);
        assert_eq!(begin.elapsed().as_secs(), 5);
    }
}
