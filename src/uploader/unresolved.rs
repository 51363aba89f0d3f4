//! Unresolved batches: no answer tells whether one is stored, so it is read back before anything is concluded.

use fail::fail_point;
use tracing::{info, warn};

use super::{
    Reconciliation,
    attempt::{Next, Sent, Unresolved},
    bisect,
    context::Uploader,
    reconcile::{OnInconclusive, Question},
};
use crate::{
    config::OnUnknown,
    descope::{Impasse, Refusal},
    domain::StopReason,
    ledger::{LedgerError, RemainingTokens, Rows},
    rate::RetryLoop,
};

impl Uploader {
    /// What is done where no answer tells what became of the batch.
    pub(super) async fn unknown(
        &self,
        unresolved: Unresolved,
        refusal: Refusal,
        attempts: &mut RetryLoop<'_>,
    ) -> Result<Next, LedgerError> {
        let number = unresolved.intent.attempt;
        warn!(
            attempt = number,
            status = refusal.status,
            code = %refusal.code,
            "outcome unknown, reading back"
        );
        let reconciliation = self.resolve(&unresolved, OnInconclusive::WaitOut).await;
        info!(attempt = number, outcome = ?reconciliation, "reconciled unknown outcome");
        let Unresolved {
            batch, mut intent, ..
        } = unresolved;
        let done = match reconciliation {
            Reconciliation::Stored => {
                fail_point!("settling");
                let outcome = intent.outcome(refusal.status);
                self.ledger().commit_batch(&outcome, Rows::of(&batch)).await?;
                Sent::Committed(batch)
            }
            Reconciliation::NotStored => {
                return Ok(Next::Again {
                    batch,
                    intent,
                    refusal,
                    wait: attempts.delay(),
                });
            }
            Reconciliation::NoProof => {
                warn!(
                    attempt = number,
                    "nothing tells whether the batch is stored: the same tokens are sent again, and may be written twice"
                );
                intent.residue = RemainingTokens::Possible;
                return Ok(Next::Again {
                    batch,
                    intent,
                    refusal,
                    wait: attempts.delay(),
                });
            }
            Reconciliation::Unknown => Sent::Unknown(Unresolved {
                batch,
                intent,
                ..unresolved
            }),
            Reconciliation::Stopped => Sent::Stopped,
        };
        Ok(Next::Done(done))
    }

    /// Whoever answered need not be the service, and would answer everything else like that: the run ends as soon as it is
    /// known what became of this batch, or that nobody tells. Then it stays in flight for the next process.
    pub(super) async fn at_impasse(
        &self,
        unresolved: Unresolved,
        refusal: &Refusal,
        impasse: Impasse,
    ) -> Result<Sent, LedgerError> {
        warn!(
            status = refusal.status,
            code = %refusal.code,
            "an answer that need not be the service's: outcome unknown, reading back"
        );
        let intent = &unresolved.intent;
        if let (Some(status), RemainingTokens::None) = (refusal.status, intent.residue) {
            self.ledger().note_odd_answer(intent.batch, status.into()).await?;
        }
        let reconciliation = self.resolve(&unresolved, OnInconclusive::GiveUp).await;
        info!(outcome = ?reconciliation, "reconciled unknown outcome");
        self.stop_at(impasse, refusal);
        let outcome = intent.outcome(refusal.status);
        match reconciliation {
            Reconciliation::Stored => {
                self.ledger()
                    .commit_batch(&outcome, Rows::of(&unresolved.batch))
                    .await?;
                Ok(Sent::Committed(unresolved.batch))
            }
            Reconciliation::NotStored => {
                self.ledger()
                    .fail_batch(&outcome, &bisect::api_reason(refusal), &[])
                    .await?;
                Ok(Sent::Stopped)
            }
            Reconciliation::NoProof | Reconciliation::Unknown | Reconciliation::Stopped => Ok(Sent::Stopped),
        }
    }

    /// What became of a batch of this process.
    pub(super) async fn resolve(
        &self,
        unresolved: &Unresolved,
        on_odd_answers: OnInconclusive,
    ) -> Reconciliation {
        if self.on_unknown() == OnUnknown::Resend {
            return Reconciliation::NoProof;
        }
        self.reconcile(Question {
            witnesses: &unresolved.intent.witnesses,
            submitted_at: unresolved.intent.recorded_at.unix_seconds(),
            settled_at: unresolved.settled_at,
            on_odd_answers,
        })
        .await
    }

    /// Ends the run: nothing that is sent would get through.
    pub(super) fn stop_at(&self, impasse: Impasse, refusal: &Refusal) {
        warn!(status = refusal.status, code = %refusal.code, "the API refuses whatever is sent: the run stops");
        let status = refusal
            .status
            .map(|status| format!("{status} "))
            .unwrap_or_default();
        let text = format!("{status}{}: {}", refusal.code, refusal.text);
        self.stop().trigger(match impasse {
            Impasse::Credentials => StopReason::Credentials(text),
            Impasse::Endpoint => StopReason::Endpoint(text),
        });
    }
}
