//! Final pass: reconciles deferred batches and sends them once more. Tokens that are not stored then have
//! failed.

use tracing::{Instrument, error_span, info};

use super::{
    Reconciliation,
    context::{Context, pages},
    deferred::DeferredBatch,
    delivery,
    key_guard::KeyGuardEntry,
    outcome::{TokenOutcome, Unresolved},
    unresolved::read_back,
};
use crate::{
    domain::{Batch, Reason},
    ledger::{LedgerError, RemainingTokens, Rows},
};

/// Delivers all deferred batches. Call it only when nothing else is in flight.
pub(super) async fn deliver_all(context: &Context) -> Result<(), LedgerError> {
    while !context.stop().is_triggered()
        && let Some(deferred) = context.deferred.pop()
    {
        deliver(context, deferred).await?;
    }
    Ok(())
}

/// Delivers the oldest deferred batch if too many wait, so that memory stays bounded: as many may wait as may
/// fail in a row. Only for callers that hold no keys, because the oldest batch may have to wait for them.
pub(super) async fn deliver_overdue(context: &Context) -> Result<(), LedgerError> {
    match context.deferred.pop_above(context.circuit_breaker.max_batches()) {
        Some(overdue) => deliver(context, overdue).await,
        None => Ok(()),
    }
}

async fn deliver(context: &Context, deferred: DeferredBatch) -> Result<(), LedgerError> {
    let unsent = match deferred {
        DeferredBatch::Blocked(batch) | DeferredBatch::Exhausted(batch, _) => batch,
        DeferredBatch::Unresolved(unresolved, keys) => {
            let tokens = unresolved.batch.items.len();
            let span = error_span!("batch", batch_id = unresolved.intent.batch.id, tokens);
            match reconcile(context, unresolved, keys).instrument(span).await? {
                Some(batch) => batch,
                None => return Ok(()),
            }
        }
    };
    for rest in delivery::deliver(context, unsent).await? {
        match rest {
            // It waits again, behind the batch that holds its key.
            DeferredBatch::Blocked(_) => context.deferred.push(rest),
            DeferredBatch::Exhausted(batch, reason) => context.fail_tokens(&batch, &reason).await?,
            DeferredBatch::Unresolved(unresolved, keys) => {
                fail_unresolved(context, &unresolved, keys).await?;
            }
        }
    }
    Ok(())
}

/// Reads an unresolved batch back once more. Returns it if it must be sent again.
async fn reconcile(
    context: &Context,
    mut unresolved: Unresolved,
    keys: KeyGuardEntry,
) -> Result<Option<Batch>, LedgerError> {
    let reconciliation = read_back(context, &unresolved, false).await;
    info!(outcome = ?reconciliation, "reconciled unknown outcome");
    let mut outcome = unresolved.intent.outcome(None);
    let text = match reconciliation {
        Reconciliation::Stored => {
            let batch = &unresolved.batch;
            context.ledger.commit_batch(&outcome, Rows::of(batch)).await?;
            context.control.meter.batch(true);
            context.report(&pages(batch), &TokenOutcome::Committed);
            return Ok(None);
        }
        Reconciliation::NotStored => {
            let tokens = unresolved.batch.items.len();
            outcome.residue = outcome.residue.max(context.residue_of(tokens));
            "no response arrived, and nothing of the batch is stored"
        }
        Reconciliation::NoProof => {
            outcome.residue = RemainingTokens::Possible;
            "no response arrived, and nothing proves whether the batch is stored: its tokens are sent again"
        }
        Reconciliation::Unknown => {
            fail_unresolved(context, &unresolved, keys).await?;
            return Ok(None);
        }
        Reconciliation::Stopped => return Ok(None),
    };
    let reason = Reason::transport("not_stored", text);
    context.ledger.fail_batch(&outcome, &reason, &[]).await?;
    context.control.meter.batch(false);
    if outcome.residue == RemainingTokens::Possible {
        unresolved.batch.discard_evidence();
    }
    Ok(Some(unresolved.batch))
}

/// Records the tokens of an unresolved batch as failed. The batch stays in flight, so that the next run reads
/// it back before it sends any of them. Its keys stay held, so that this run sends no token that could be
/// mistaken for one of them.
async fn fail_unresolved(
    context: &Context,
    unresolved: &Unresolved,
    keys: KeyGuardEntry,
) -> Result<(), LedgerError> {
    context.hold_keys(keys);
    let text = format!(
        "it is unknown whether the API stored the token (batch {}); the next run reads it back before it sends anything",
        unresolved.intent.batch.id
    );
    let reason = Reason::transport("outcome_unknown", text);
    context.fail_tokens(&unresolved.batch, &reason).await
}
