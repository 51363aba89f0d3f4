//! A database that goes away for a while: how long it is waited for.

use tokio::time::{Duration, Instant, sleep};
use tracing::{info, warn};

use super::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One piece of work and the outages it lives through.
#[derive(Debug)]
pub struct Outage {
    database: &'static str,
    patience: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Outage {
    /// No outage yet. `database` is the word for the log.
    #[must_use]
    pub fn of(database: &'static str, patience: Duration) -> Self {
        Self {
            database,
            patience,
            since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Gives the failure back if waiting does not help, or was tried for too long.
    pub async fn wait_out(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_transient() {
            return Err(failure);
        }
        let since = *self.since.get_or_insert_with(|| {
            warn!(database = self.database, reason = %failure, "out of reach; trying again");
            Instant::now()
        });
        if since.elapsed() + self.pause > self.patience {
            return Err(failure);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// The work is done; since when it had to wait, if it had to.
    pub fn over(&self) -> Option<Instant> {
        if let Some(since) = self.since {
            info!(
                database = self.database,
                after_s = since.elapsed().as_secs(),
                "answers again"
            );
        }
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Failure {
        Failure::from(sqlx::Error::PoolClosed)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_for_as_long_as_patience_lasts() {
        let begin = Instant::now();
        let mut outage = Outage::of("test", Duration::from_secs(60));
        while outage.wait_out(gone()).await.is_ok() {}
        assert!(
            (50.0..=60.0).contains(&begin.elapsed().as_secs_f64()),
            "{:?}",
            begin.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_waiting_does_not_help_is_given_back_at_once() {
        let begin = Instant::now();
        let wrong = Failure::from(sqlx::Error::RowNotFound);
        assert!(
            Outage::of("test", Duration::from_secs(60))
                .wait_out(wrong)
                .await
                .is_err()
        );
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
