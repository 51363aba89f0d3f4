//! Unresolved batches: the response does not show whether the batch is stored, so it is read back.

use std::ops::ControlFlow;

use fail::fail_point;
use tracing::{info, warn};

use super::{
    Reconciliation, bisect,
    context::Context,
    outcome::{AttemptResult, NextAttempt, Unresolved},
    reconcile::{self, Question},
};
use crate::{
    config::OnUnknown,
    descope::{Impasse, Refusal},
    ledger::{LedgerError, RemainingTokens, Rows},
    rate::RetryLoop,
};

/// Reads the batch back. It is sent again if nothing of it is stored, or if nothing proves that it is.
pub(super) async fn resolve(
    context: &Context,
    unresolved: Unresolved,
    refusal: Refusal,
    attempts: &mut RetryLoop<'_>,
) -> Result<ControlFlow<AttemptResult, NextAttempt>, LedgerError> {
    let attempt = unresolved.intent.attempt;
    warn!(attempt, status = refusal.status, code = %refusal.code, "outcome unknown, reading back");
    let reconciliation = read_back(context, &unresolved, false).await;
    info!(attempt, outcome = ?reconciliation, "reconciled unknown outcome");
    let Unresolved {
        batch, mut intent, ..
    } = unresolved;
    match reconciliation {
        Reconciliation::Stored => {
            fail_point!("settling");
            let outcome = intent.outcome(refusal.status);
            context.ledger.commit_batch(&outcome, Rows::of(&batch)).await?;
            return Ok(ControlFlow::Break(AttemptResult::Committed {
                batch,
                is_clean: false,
            }));
        }
        Reconciliation::NotStored => {
            intent.residue = intent.residue.max(context.residue_of(batch.items.len()));
        }
        Reconciliation::NoProof => {
            warn!(
                attempt,
                "nothing proves whether the batch is stored, sending the same tokens again; they may be written twice"
            );
            intent.residue = RemainingTokens::Possible;
        }
        Reconciliation::Unknown => {
            let unresolved = Unresolved {
                batch,
                intent,
                ..unresolved
            };
            return Ok(ControlFlow::Break(AttemptResult::Unresolved(unresolved)));
        }
        Reconciliation::Stopped => return Ok(ControlFlow::Break(AttemptResult::Stopped)),
    }
    let failure = Some((refusal, attempts.delay()));
    Ok(ControlFlow::Continue(NextAttempt {
        batch,
        intent,
        failure,
    }))
}

/// Reads back a batch whose response may not be from the service. Every other request would get the same
/// response, so the run ends after the read-back. If the outcome is still unknown, the batch stays in flight
/// for the next process.
pub(super) async fn resolve_at_impasse(
    context: &Context,
    unresolved: Unresolved,
    refusal: &Refusal,
    impasse: Impasse,
) -> Result<AttemptResult, LedgerError> {
    warn!(
        status = refusal.status,
        code = %refusal.code,
        "outcome unknown, reading back: the response may not be from the service"
    );
    let intent = &unresolved.intent;
    if let (Some(status), RemainingTokens::None) = (refusal.status, intent.residue) {
        context
            .ledger
            .note_odd_answer(intent.batch, status.into())
            .await?;
    }
    let reconciliation = read_back(context, &unresolved, true).await;
    info!(outcome = ?reconciliation, "reconciled unknown outcome");
    context.stop_at(impasse, refusal);
    let Unresolved {
        batch, mut intent, ..
    } = unresolved;
    let ledger = &context.ledger;
    match reconciliation {
        Reconciliation::Stored => {
            let outcome = intent.outcome(refusal.status);
            ledger.commit_batch(&outcome, Rows::of(&batch)).await?;
            return Ok(AttemptResult::Committed {
                batch,
                is_clean: false,
            });
        }
        Reconciliation::NotStored => {
            intent.residue = intent.residue.max(context.residue_of(batch.items.len()));
            let reason = bisect::api_reason(refusal);
            ledger
                .fail_batch(&intent.outcome(refusal.status), &reason, &[])
                .await?;
        }
        Reconciliation::NoProof | Reconciliation::Unknown | Reconciliation::Stopped => {}
    }
    Ok(AttemptResult::Stopped)
}

/// Reads back a batch of this process, unless `on_unknown` is "resend".
pub(super) async fn read_back(
    context: &Context,
    unresolved: &Unresolved,
    is_api_in_doubt: bool,
) -> Reconciliation {
    if context.batch.on_unknown == OnUnknown::Resend {
        return Reconciliation::NoProof;
    }
    let question = Question {
        witnesses: &unresolved.intent.witnesses,
        submitted_at: unresolved.intent.recorded_at.unix_seconds(),
        settled_at: unresolved.settled_at,
        is_api_in_doubt,
    };
    reconcile::reconcile(context, question).await
}
