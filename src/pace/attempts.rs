//! How often something is tried, and how long is waited in between. The one place that knows the crate `backoff`.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};
use tokio::time::sleep;

use super::{Pacer, Stop};
use crate::config::RetrySettings;

/// The attempts at one thing: each paid for, counted, and with growing pauses between them.
#[derive(Debug)]
pub struct Attempts<'a> {
    pacer: &'a Pacer,
    stop: &'a Stop,
    most: u32,
    /// Those that came to nothing.
    failed: u32,
    delays: Delays,
    through_pauses: bool,
}

impl<'a> Attempts<'a> {
    /// Attempts with these pauses, paid for at `pacer`, until `stop` is turned.
    #[must_use]
    pub fn new(settings: &RetrySettings, pacer: &'a Pacer, stop: &'a Stop) -> Self {
        Self {
            pacer,
            stop,
            most: settings.max_attempts,
            failed: 0,
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
    pub async fn next(&mut self) -> Option<u32> {
        let ready = async {
            if self.through_pauses {
                self.pacer.ready_to_settle().await;
            } else {
                self.pacer.ready().await;
            }
        };
        self.stop.unless_turned(ready).await?;
        Some(self.number())
    }

    /// The number of the attempt that is being made, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.failed + 1
    }

    /// Waits after an attempt that came to nothing; `false` if it was the last one. If the run is stopped meanwhile,
    /// [`next`](Self::next) notices.
    pub async fn again(&mut self, wait: Duration) -> bool {
        self.failed += 1;
        if self.failed >= self.most {
            return false;
        }
        self.stop.unless_turned(sleep(wait)).await;
        true
    }

    /// How long to wait where the API does not say.
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
    use crate::{config::RateLimit, meter::Meter, model::StopReason, pace::Helm};

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
        Pacer::new(quota, &Helm::new(quota, Meter::default()))
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
        let (pacer, stop) = (pacer(), Stop::new());
        let mut attempts = Attempts::new(&SETTINGS, &pacer, &stop);
        let begin = Instant::now();
        let mut numbers = Vec::new();
        loop {
            numbers.extend(attempts.next().await);
            if !attempts.again(Duration::from_secs(10)).await {
                break;
            }
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(begin.elapsed().as_secs(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_pays_and_a_gate_that_the_api_closed_is_waited_for() {
        let (pacer, stop) = (pacer(), Stop::new());
        let mut attempts = Attempts::new(&SETTINGS, &pacer, &stop);
        let begin = Instant::now();
        // Nothing is waited between them but the quota of one in a second.
        for number in 1..=4 {
            assert_eq!(attempts.next().await, Some(number));
            attempts.again(Duration::ZERO).await;
        }
        assert_eq!(begin.elapsed().as_secs(), 3);
        // `Retry-After: 100`.
        pacer.hold(Duration::from_secs(100));
        assert_eq!(attempts.next().await, Some(5));
        assert_eq!(begin.elapsed().as_secs(), 103);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_pauses_and_waiting_for_the_quota() {
        let (pacer, stop) = (pacer(), Stop::new());
        let mut attempts = Attempts::new(&SETTINGS, &pacer, &stop);
        assert_eq!(attempts.next().await, Some(1));
        pacer.hold(Duration::from_secs(1000));
        let turned = stop.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(5)).await;
            turned.turn(StopReason::Signal(15));
        });
        let begin = Instant::now();
        assert!(attempts.again(Duration::from_secs(500)).await);
        assert_eq!(attempts.next().await, None);
        assert_eq!(begin.elapsed().as_secs(), 5);
    }
}
