//! How long to wait before trying again. The one place that knows the crate `backoff`.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};

use crate::config::RetrySettings;

/// Growing pauses with jitter, for one batch.
#[derive(Debug)]
pub(super) struct Delays(ExponentialBackoff);

impl Delays {
    pub(super) fn new(settings: &RetrySettings) -> Self {
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

    pub(super) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_with_jitter() {
        let settings = RetrySettings {
            max_attempts: 8,
            initial_interval: Duration::from_millis(500),
            max_interval: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(900),
        };
        let mut delays = Delays::new(&settings);
        for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let pause = delays.next().as_secs_f64();
            assert!(
                pause >= expected * 0.5 && pause <= expected * 1.5 + 0.001,
                "{pause} for {expected}"
            );
        }
        let first: Vec<_> = (0..20).map(|_| Delays::new(&settings).next()).collect();
        assert!(first.iter().any(|pause| *pause != first[0]), "no jitter");
    }
}
