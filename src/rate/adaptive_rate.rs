//! Adaptive rate of a quota that is not shared: lower after repeated 429s, and slowly back up.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::RateLimit;

/// A second 429 within this many windows lowers the rate.
const WATCHED_WINDOWS: u32 = 3;

/// A lowered rate rises by a twentieth after this many windows.
const WINDOWS_TO_RECOVER: u32 = 5;

/// The part of a configured quota that the API allows. [`SharedQuota`](crate::ledger::SharedQuota) follows
/// the same rules for quotas that processes share.
#[derive(Debug)]
pub(super) struct AdaptiveRate {
    configured: RateLimit,
    /// Between 0 and 1.
    part: f64,
    held_until: Option<Instant>,
    changed_at: Instant,
}

impl AdaptiveRate {
    pub(super) fn new(configured: RateLimit) -> Self {
        Self {
            configured,
            part: 1.0,
            held_until: None,
            changed_at: Instant::now(),
        }
    }

    /// Learns from a 429. Returns the rate if it is lower than before.
    pub(super) fn record_hold(&mut self, wait: Duration) -> Option<RateLimit> {
        let now = Instant::now();
        let until = now + wait;
        let longest = self.held_until.map_or(until, |held| held.max(until));
        let last = self.held_until.replace(longest)?;
        // 429s during a hold are for requests that left before it.
        if last > now {
            return None;
        }
        self.changed_at = now;
        if now.duration_since(last) > self.configured.per * WATCHED_WINDOWS {
            return None;
        }
        self.part = (self.part / 1.25).max(1.0 / f64::from(self.configured.requests.max(1)));
        Some(self.limit())
    }

    /// Returns the rate that is allowed now.
    pub(super) fn limit(&mut self) -> RateLimit {
        if self.part < 1.0 && self.changed_at.elapsed() > self.configured.per * WINDOWS_TO_RECOVER {
            self.part = (self.part * 1.05).min(1.0);
            self.changed_at = Instant::now();
        }
        self.configured.scaled(self.part)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn rate() -> AdaptiveRate {
        AdaptiveRate::new(RateLimit {
            requests: 100,
            per: WINDOW,
            burst: 1,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_429_within_three_windows_lowers_it_by_a_fifth() {
        let mut rate = rate();
        assert_eq!(rate.record_hold(WINDOW), None);
        // From requests that were under way together.
        assert_eq!(rate.record_hold(WINDOW), None);
        advance(WINDOW * 2).await;
        assert_eq!(rate.record_hold(WINDOW).map(|limit| limit.requests), Some(80));
        advance(WINDOW * 2).await;
        assert_eq!(rate.record_hold(WINDOW).map(|limit| limit.requests), Some(64));
        advance(WINDOW * 5).await;
        assert_eq!(rate.record_hold(WINDOW), None, "long after the last one");
        assert_eq!(rate.limit().requests, 64);
    }

    #[tokio::test(start_paused = true)]
    async fn it_recovers_slowly_and_not_beyond_what_is_configured() {
        let mut rate = rate();
        rate.record_hold(Duration::ZERO);
        advance(Duration::from_secs(1)).await;
        rate.record_hold(Duration::ZERO);
        assert_eq!(rate.limit().requests, 80);
        let mut rates = Vec::new();
        for _ in 0..8 {
            advance(WINDOW * 5 + Duration::from_secs(1)).await;
            rates.push(rate.limit().requests);
        }
        assert_eq!(rates, [84, 88, 92, 97, 100, 100, 100, 100]);
    }
}
