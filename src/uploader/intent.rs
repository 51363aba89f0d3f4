//! Intents: a batch is recorded as in flight before it is sent, and is sent soon after or not at all.

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
    /// The tokens to read back if there is no response.
    pub(super) witnesses: Vec<Witness>,
    /// Number of the last recorded attempt, from 1.
    pub(super) attempt: u32,
    /// Time just before the ledger recorded that attempt.
    pub(super) recorded_at: Moment,
    /// `Possible` if an earlier attempt may have been stored, and nothing proves it.
    pub(super) residue: RemainingTokens,
}

impl Intent {
    /// Records that a batch is about to be sent.
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

    /// Records a further attempt at the same batch, or that the current one has not left yet. Fails if
    /// another process has taken over the run.
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

    /// Returns true if a request with this timeout may start now.
    pub(super) fn is_fresh(&self, timeout: Duration) -> bool {
        self.recorded_at.elapsed() <= fresh_for(timeout)
    }

    /// Returns the deadline for sending the body of a request with this timeout.
    pub(super) fn deadline(&self, timeout: Duration) -> SendDeadline {
        SendDeadline {
            intended: self.recorded_at,
            within: leaves_within(timeout),
        }
    }

    /// Returns the outcome of the last attempt, for the ledger.
    pub(super) fn outcome(&self, status: Option<u16>) -> BatchOutcome {
        BatchOutcome {
            batch: self.batch,
            attempts: self.attempt.cast_signed(),
            http_status: status.map(i32::from),
            residue: self.residue,
        }
    }
}

/// Returns the age up to which an intent is fresh. An older one is renewed before anything is sent, because
/// it was recorded for a request that leaves at once.
fn fresh_for(timeout: Duration) -> Duration {
    const SHARE: u32 = 4;
    // The ledger needs some time to respond, even if the timeout of the API is very short.
    const LEAST: Duration = Duration::from_secs(1);
    (timeout / SHARE).max(LEAST)
}

/// Returns the time after the intent during which a request may still be leaving: it starts while the intent
/// is fresh, and is sent or abandoned within the timeout.
pub(super) fn leaves_within(timeout: Duration) -> Duration {
    timeout + fresh_for(timeout)
}
