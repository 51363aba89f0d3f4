//! Retries statements while the ledger is unreachable.

use tokio::time::Instant;

use super::{Ledger, LedgerError};
use crate::{
    domain::EventKind,
    postgres::{Failure, Outage},
};

impl Ledger {
    /// Runs `statement` until it succeeds, fails for good, or the database was unreachable for too long.
    /// Every statement given here must be repeatable: one whose response was lost may have been executed.
    pub(super) async fn with_retry<T, F>(&self, mut statement: impl FnMut() -> F) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut outage = Outage::of("ledger", &self.patience);
        loop {
            match statement().await {
                Ok(value) => {
                    if let Some(since) = outage.over() {
                        self.event_log
                            .record_span(EventKind::LedgerAway, since, Instant::now());
                    }
                    return Ok(value);
                }
                Err(error) => outage.wait_out(Failure::from(error).unless_replaced()).await?,
            }
        }
    }
}
