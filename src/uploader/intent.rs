//! Intents: a batch is recorded as in flight before it leaves, and leaves soon after or not at all.

use tokio::time::Duration;

use crate::{
    descope::SendDeadline,
    domain::{Batch, Moment, Witness},
    ledger::{BatchOutcome, BatchRef, Ledger, LedgerError, RemainingTokens, Run},
};

/// A batch that the ledger holds as in flight.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) batch: BatchRef,
    /// Read back if there is no answer.
    pub(super) witnesses: Vec<Witness>,
    /// The attempt that it was recorded for last, from 1.
    pub(super) attempt: u32,
    /// Before that was asked of the ledger.
    pub(super) recorded_at: Moment,
    /// Whether an earlier attempt may have been stored, and nothing can tell.
    pub(super) residue: RemainingTokens,
}

impl Intent {
    /// Records that a batch is about to leave.
    pub(super) async fn record(
        ledger: &Ledger,
        run: &Run,
        batch: &Batch,
        witnesses: Vec<Witness>,
    ) -> Result<Self, LedgerError> {
        let recorded_at = Moment::now();
        let batch = ledger.open_batch(run, batch, &witnesses).await?;
        Ok(Self {
            batch,
            witnesses,
            attempt: 1,
            recorded_at,
            residue: RemainingTokens::None,
        })
    }

    /// Records that the same is about to leave once more, or that it did not leave yet. Refused if another process has taken the
    /// run over meanwhile.
    pub(super) async fn renew(self, ledger: &Ledger, run: &Run, attempt: u32) -> Result<Self, LedgerError> {
        let recorded_at = Moment::now();
        ledger
            .reopen_batch(run, self.batch, attempt.cast_signed())
            .await?;
        Ok(Self {
            attempt,
            recorded_at,
            ..self
        })
    }

    /// Whether a request with this timeout may begin to leave.
    pub(super) fn is_fresh(&self, timeout: Duration) -> bool {
        self.recorded_at.elapsed() <= fresh_for(timeout)
    }

    /// The moment until which the body of a request with this timeout may leave.
    pub(super) fn deadline(&self, timeout: Duration) -> SendDeadline {
        SendDeadline {
            intended: self.recorded_at,
            within: leaves_within(timeout),
        }
    }

    /// The outcome of its last attempt, for the ledger.
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

/// The time after its intent was recorded during which a request may be leaving: it begins to while the intent is fresh, and
/// within the timeout it has left or is given up.
pub(super) fn leaves_within(timeout: Duration) -> Duration {
    timeout + fresh_for(timeout)
}
