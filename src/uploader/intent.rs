//! Intents: a batch is recorded as in flight before it leaves, and leaves soon after or not at all.

use tokio::time::Duration;

use super::context::Uploader;
use crate::{
    descope::SendDeadline,
    domain::{Batch, Moment, Witness},
    ledger::{BatchOutcome, BatchRef, LedgerError, RemainingTokens},
};

/// A batch that the ledger holds as in flight.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) batch: BatchRef,
    /// Whom to ask if there is no answer.
    pub(super) witnesses: Vec<Witness>,
    /// The attempt that it was recorded for last, from 1.
    pub(super) attempt: u32,
    /// Before that was asked of the ledger.
    pub(super) recorded_at: Moment,
    /// Whether an earlier attempt may have been stored, and nobody can tell.
    pub(super) residue: RemainingTokens,
}

impl Intent {
    /// How it ended, for the ledger.
    pub(super) fn outcome(&self, status: Option<u16>) -> BatchOutcome {
        BatchOutcome {
            batch: self.batch,
            attempts: self.attempt.cast_signed(),
            http_status: status.map(i32::from),
            residue: self.residue,
        }
    }
}

/// An intent that is older is recorded anew before anything leaves: it was recorded for a request that leaves at once.
fn fresh_for(timeout: Duration) -> Duration {
    const SHARE: u32 = 4;
    // A ledger may take a moment to answer, however short the API's timeout is.
    const LEAST: Duration = Duration::from_secs(1);
    (timeout / SHARE).max(LEAST)
}

/// For how long after its intent was recorded a request may be leaving: it begins to while the intent is fresh, and within
/// the timeout it has left or is given up.
pub(super) fn leaves_within(timeout: Duration) -> Duration {
    timeout + fresh_for(timeout)
}

impl Uploader {
    /// Records that a batch is about to leave.
    pub(super) async fn intend(&self, batch: &Batch) -> Result<Intent, LedgerError> {
        let witnesses = self.witnesses(batch);
        let recorded_at = Moment::now();
        let batch = self.ledger().open_batch(self.run(), batch, &witnesses).await?;
        Ok(Intent {
            batch,
            witnesses,
            attempt: 1,
            recorded_at,
            residue: RemainingTokens::None,
        })
    }

    /// Records that the same is about to leave once more, or that it did not leave yet. Refused if another process has taken
    /// the run over meanwhile.
    pub(super) async fn intend_again(&self, intent: Intent, attempt: u32) -> Result<Intent, LedgerError> {
        let recorded_at = Moment::now();
        self.ledger()
            .reopen_batch(self.run(), intent.batch, attempt.cast_signed())
            .await?;
        Ok(Intent {
            attempt,
            recorded_at,
            ..intent
        })
    }

    /// Whether a request may begin to leave.
    pub(super) fn is_fresh(&self, intent: &Intent) -> bool {
        intent.recorded_at.elapsed() <= fresh_for(self.timeout())
    }

    /// Until when its body may leave.
    pub(super) fn deadline(&self, intent: &Intent) -> SendDeadline {
        SendDeadline {
            intended: intent.recorded_at,
            within: leaves_within(self.timeout()),
        }
    }
}
