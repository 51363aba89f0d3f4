//! Patience: the time limits for an unreachable database.

use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

/// The longest wait for a statement that writes or finds a few rows.
const STATEMENT: Duration = Duration::from_secs(30);

/// The shortest wait, so that each attempt has a chance.
const LEAST: Duration = Duration::from_secs(5);

/// The time for an attempt that begins after the end: enough for a database that responds.
const LAST_TRY: Duration = Duration::from_secs(4);

/// The cap for an outage that is meant to be waited out without a limit.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// The limits for an outage and for a response. Clones share one deadline: once a run is stopped, or one
/// statement has waited in vain, nothing else waits much longer.
#[derive(Debug, Clone)]
pub struct Patience {
    outage: Duration,
    end: watch::Sender<Option<Instant>>,
}

impl Patience {
    /// Allows outages of this length.
    #[must_use]
    pub fn new(outage: Duration) -> Self {
        Self {
            outage: outage.min(FOREVER),
            end: watch::Sender::new(None),
        }
    }

    /// Allows no outage, for interactive commands that can be repeated.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Duration::ZERO)
    }

    /// Returns the limit for a short statement: at most half of an outage, so that another connection can be
    /// tried.
    #[must_use]
    pub fn for_statement(&self) -> Duration {
        STATEMENT.min((self.outage / 2).max(LEAST))
    }

    /// Limits all waiting to this time from now. What begins later has one short attempt.
    pub fn shorten(&self, left: Duration) {
        let end = Instant::now() + left;
        self.end.send_if_modified(|former| {
            let sooner = former.is_none_or(|former| end < former);
            if sooner {
                *former = Some(end);
            }
            sooner
        });
    }

    /// Waits until a response that is awaited from now on is overdue.
    pub async fn run_out(&self, limit: Duration) {
        let begun = Instant::now();
        let limit = limit.min(FOREVER);
        let mut end = self.end.subscribe();
        loop {
            let until = match *end.borrow_and_update() {
                None => begun + limit,
                Some(end) => end.max(begun + LAST_TRY).min(begun + limit),
            };
            tokio::select! {
                () = sleep_until(until) => return,
                // `self` is the sender.
                _ = end.changed() => {}
            }
        }
    }

    /// Waits for `pause`, unless the outage since `since` would then have lasted too long. Returns whether it
    /// waited.
    pub(super) async fn outlasts(&self, since: Instant, pause: Duration) -> bool {
        let next = Instant::now() + pause;
        let mut end = self.end.subscribe();
        loop {
            let until = since + self.outage;
            let until = end.borrow_and_update().map_or(until, |end| end.min(until));
            if next > until {
                return false;
            }
            tokio::select! {
                () = sleep_until(next) => return true,
                _ = end.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(patience: &Patience, limit: Duration) -> u64 {
        let begin = Instant::now();
        patience.run_out(limit).await;
        begin.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_cut_short_and_what_begins_later_gets_a_last_try() {
        let patience = Patience::new(Duration::from_mins(5));
        assert_eq!(waits(&patience, patience.for_statement()).await, 30);
        let (cut, ()) = tokio::join!(waits(&patience, Duration::from_mins(10)), async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            patience.shorten(Duration::from_secs(20));
            // The deadline is never extended.
            patience.shorten(Duration::from_secs(60));
        });
        assert_eq!(cut, 27);
        assert_eq!(waits(&patience, Duration::from_mins(10)).await, 4);
        assert_eq!(waits(&patience, Duration::from_secs(1)).await, 1);
        assert!(
            !patience
                .outlasts(Instant::now(), Duration::from_millis(100))
                .await
        );
    }

    #[test]
    fn a_short_outage_still_leaves_an_attempt_time() {
        for (outage, limit) in [(1, 5), (10, 5), (40, 20), (300, 30)] {
            let patience = Patience::new(Duration::from_secs(outage));
            assert_eq!(patience.for_statement(), Duration::from_secs(limit));
        }
    }
}
