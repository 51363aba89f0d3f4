//! Outages: waiting for a database that is temporarily unreachable.

use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::{Failure, Patience};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A piece of work and the outages that interrupt it.
#[derive(Debug)]
pub struct Outage {
    database: &'static str,
    patience: Patience,
    /// The start of the first failed attempt: a silent database has been unreachable since then.
    since: Option<Instant>,
    attempt: Instant,
    pause: Duration,
}

impl Outage {
    /// Starts without an outage. `database` is the word for the log.
    #[must_use]
    pub fn of(database: &'static str, patience: &Patience) -> Self {
        Self {
            database,
            patience: patience.clone(),
            since: None,
            attempt: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Returns the failure if waiting cannot help or has lasted too long. From then on, nothing else waits
    /// for a database either.
    pub async fn wait_out(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_transient() {
            return Err(failure);
        }
        let since = *self.since.get_or_insert_with(|| {
            warn!(database = self.database, reason = %failure, "database unreachable, retrying");
            self.attempt
        });
        if !self.patience.outlasts(since, self.pause).await {
            self.patience.shorten(Duration::ZERO);
            return Err(failure);
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.attempt = Instant::now();
        Ok(())
    }

    /// Ends the work; returns the start of the outage, if there was one.
    pub fn over(&self) -> Option<Instant> {
        if let Some(since) = self.since {
            info!(
                database = self.database,
                after_s = since.elapsed().as_secs(),
                "database reachable again"
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

    fn a_minute() -> Patience {
        Patience::new(Duration::from_mins(1))
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_for_as_long_as_patience_lasts() {
        let begin = Instant::now();
        let mut outage = Outage::of("test", &a_minute());
        while outage.wait_out(gone()).await.is_ok() {}
        assert!(
            (50.0..=60.0).contains(&begin.elapsed().as_secs_f64()),
            "{:?}",
            begin.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_its_beginning() {
        let begin = Instant::now();
        let mut outage = Outage::of("test", &a_minute());
        loop {
            tokio::time::sleep(Duration::from_secs(29)).await;
            if outage.wait_out(gone()).await.is_err() {
                break;
            }
        }
        assert_eq!(begin.elapsed().as_secs(), 87);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_gives_up_is_followed_by_all() {
        let begin = Instant::now();
        let patience = a_minute();
        patience.shorten(Duration::from_secs(10));
        let mut outage = Outage::of("test", &patience);
        while outage.wait_out(gone()).await.is_ok() {}
        assert!(begin.elapsed() <= Duration::from_secs(10));
        let begin = Instant::now();
        assert!(Outage::of("test", &patience).wait_out(gone()).await.is_err());
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waiting_does_not_help_is_given_back_at_once() {
        let begin = Instant::now();
        let wrong = Failure::from(sqlx::Error::RowNotFound);
        assert!(Outage::of("test", &a_minute()).wait_out(wrong).await.is_err());
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
