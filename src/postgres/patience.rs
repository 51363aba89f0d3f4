//! Patience: how long an unreachable database is waited for.

use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

/// A statement that writes or finds a few rows is answered by then, or nobody answers.
const STATEMENT: Duration = Duration::from_secs(30);

/// However short an outage may be: an attempt has to have a chance.
const LEAST: Duration = Duration::from_secs(5);

/// What an attempt gets that begins after the end: enough for a database that answers.
const LAST_TRY: Duration = Duration::from_secs(4);

/// Whoever writes more than that means it.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// How long a database may be out of reach, and how long an answer may take. Clones share one end: where a run is stopped, or one
/// statement has waited in vain, nothing else waits much longer.
#[derive(Debug, Clone)]
pub struct Patience {
    outage: Duration,
    end: watch::Sender<Option<Instant>>,
}

impl Patience {
    /// A database may be out of reach for so long.
    #[must_use]
    pub fn new(outage: Duration) -> Self {
        Self {
            outage: outage.min(FOREVER),
            end: watch::Sender::new(None),
        }
    }

    /// No outage is waited out: whoever looks on asks again by himself.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Duration::ZERO)
    }

    /// How long the answer to a short statement is waited for: half of an outage at most, so that another connection can be tried.
    #[must_use]
    pub fn for_statement(&self) -> Duration {
        STATEMENT.min((self.outage / 2).max(LEAST))
    }

    /// From now on nothing is waited for longer than this. What begins after that has one short attempt.
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

    /// Returns once an answer is overdue that is waited for from now on.
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

    /// Lets `pause` pass, unless an outage that began at `since` has then lasted for too long.
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
            // Nobody becomes more patient again.
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
