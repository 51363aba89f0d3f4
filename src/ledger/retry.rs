//! Statements outlive a ledger that goes away for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Ledger, LedgerError};
use crate::postgres::Failure;

impl Ledger {
    /// Runs `statement` until the database took it, or was out of reach for too long. Every statement given here may be
    /// repeated: one whose answer was lost may have been carried out.
    pub(super) async fn persist<T, F>(&self, mut statement: impl FnMut() -> F) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut lost_at: Option<Instant> = None;
        let mut pause = Duration::from_millis(100);
        loop {
            let failure = match statement().await {
                Ok(value) => {
                    if lost_at.is_some() {
                        info!("the ledger database answers again");
                    }
                    return Ok(value);
                }
                Err(error) => Failure::from(error),
            };
            if !failure.is_transient() {
                return Err(failure.into());
            }
            let since = *lost_at.get_or_insert_with(|| {
                warn!(reason = %failure, "the ledger database is out of reach; trying again");
                Instant::now()
            });
            if since.elapsed() + pause > self.patience {
                return Err(failure.into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}
