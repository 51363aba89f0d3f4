//! Runtime rate control: nothing leaves while it is paused, and less than configured if somebody asks for
//! less.

use tokio::sync::watch;

use crate::config::RateLimit;

/// The throttle of a run, shared by its pacers and its controls. The next process begins at the configured
/// rate again.
#[derive(Debug, Clone)]
pub struct Throttle {
    configured: RateLimit,
    pace: watch::Sender<Pace>,
}

/// The current rate of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// No request may leave.
    pub paused: bool,
    /// The number of requests per the configured time.
    pub requests: u32,
}

/// A requested rate of zero, or above the configured one. Holds the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate must be at least 1 and at most {0}, as configured")]
pub struct RateOutOfRange(pub u32);

impl Throttle {
    /// Open, at the configured rate.
    #[must_use]
    pub fn new(configured: RateLimit) -> Self {
        Self {
            configured,
            pace: watch::Sender::new(Pace {
                paused: false,
                requests: configured.requests,
            }),
        }
    }

    /// Holds back whatever has not left yet. What is in flight finishes.
    pub fn pause(&self) {
        self.change(|pace| pace.paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.change(|pace| pace.paused = false);
    }

    /// Lowers the rate to `requests`. Other quotas are lowered in proportion.
    ///
    /// # Errors
    /// If that is none, or more than configured.
    pub fn slow_to(&self, requests: u32) -> Result<(), RateOutOfRange> {
        if requests == 0 || requests > self.configured.requests {
            return Err(RateOutOfRange(self.configured.requests));
        }
        self.change(|pace| pace.requests = requests);
        Ok(())
    }

    /// Returns the current pace.
    #[must_use]
    pub fn pace(&self) -> Pace {
        *self.pace.borrow()
    }

    /// Returns the configured rate.
    #[must_use]
    pub fn configured(&self) -> RateLimit {
        self.configured
    }

    /// The rate at the moment, where it is lower than configured.
    #[must_use]
    pub fn slowed_to(&self) -> Option<RateLimit> {
        let pace = self.pace();
        (pace.requests < self.configured.requests).then(|| self.share(self.configured, pace))
    }

    /// Returns a receiver of every change. It lives no longer than the throttle.
    pub(super) fn changes(&self) -> watch::Receiver<Pace> {
        self.pace.subscribe()
    }

    /// Returns the part of a quota that this pace leaves.
    pub(super) fn share(&self, quota: RateLimit, pace: Pace) -> RateLimit {
        if pace.requests == self.configured.requests {
            return quota;
        }
        let share = |of: u32| {
            let share = u64::from(of) * u64::from(pace.requests) / u64::from(self.configured.requests.max(1));
            u32::try_from(share).unwrap_or(u32::MAX).max(1)
        };
        RateLimit {
            requests: share(quota.requests),
            burst: share(quota.burst),
            ..quota
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pace)) {
        self.pace.send_if_modified(|pace| {
            let before = *pace;
            change(pace);
            *pace != before
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quota(requests: u32, burst: u32) -> RateLimit {
        RateLimit {
            requests,
            per: Duration::from_secs(60),
            burst,
        }
    }

    #[test]
    fn no_faster_than_configured_and_never_at_a_standstill() {
        let throttle = Throttle::new(quota(100, 1));
        assert_eq!(throttle.slow_to(0), Err(RateOutOfRange(100)));
        assert_eq!(throttle.slow_to(101), Err(RateOutOfRange(100)));
        assert_eq!(throttle.pace().requests, 100);
        assert_eq!(throttle.slow_to(100), Ok(()));
        assert_eq!(throttle.slow_to(1), Ok(()));
        assert_eq!(throttle.pace().requests, 1);
    }

    #[test]
    fn other_quotas_follow_in_proportion() {
        let throttle = Throttle::new(quota(100, 1));
        let share = |of| throttle.share(of, throttle.pace());
        assert_eq!(share(quota(450, 10)), quota(450, 10));
        throttle.slow_to(50).unwrap();
        assert_eq!(share(quota(450, 10)), quota(225, 5));
        throttle.slow_to(1).unwrap();
        assert_eq!(share(quota(450, 10)), quota(4, 1));
        assert_eq!(share(quota(20, 3)), quota(1, 1));
    }
}
