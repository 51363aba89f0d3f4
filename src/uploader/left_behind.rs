//! Batches left behind: a killed process had them in flight, and a later one reconciles them.

use tokio::time::Instant;
use tracing::{Instrument, error_span, info};

use super::{
    Reconciliation,
    context::Context,
    intent::leaves_within,
    reconcile::{self, Question},
};
use crate::{
    config::OnUnknown,
    domain::Reason,
    ledger::{BatchOutcome, LedgerError, RemainingTokens, Rows, Unsettled},
};

/// Reconciles the batch, and records the outcome if there is one.
pub(super) async fn reconcile(
    context: &Context,
    left: &Unsettled,
    may_resend: bool,
) -> Result<Reconciliation, LedgerError> {
    let span = error_span!("batch", batch_id = left.batch.id, tokens = left.token_count);
    async {
        let reconciliation = match ask(context, left, may_resend).await {
            // This run does not send the tokens again, so the ledger must remember that they may be stored.
            Reconciliation::NoProof if !may_resend => Reconciliation::Unknown,
            reconciliation => reconciliation,
        };
        record(context, left, reconciliation).await?;
        info!(outcome = ?reconciliation, "reconciled a batch that an earlier process left in flight");
        Ok(reconciliation)
    }
    .instrument(span)
    .await
}

async fn ask(context: &Context, left: &Unsettled, may_resend: bool) -> Reconciliation {
    if may_resend && context.batch.on_unknown == OnUnknown::Resend {
        return Reconciliation::NoProof;
    }
    let under_way_for = leaves_within(context.timeout) + context.settle_grace;
    let question = Question {
        witnesses: &left.witnesses,
        submitted_at: left.submitted_at,
        settled_at: Instant::now() + under_way_for.saturating_sub(left.age),
        is_api_in_doubt: false,
    };
    reconcile::reconcile(context, question).await
}

async fn record(
    context: &Context,
    left: &Unsettled,
    reconciliation: Reconciliation,
) -> Result<(), LedgerError> {
    let outcome = BatchOutcome {
        batch: left.batch,
        attempts: left.attempts,
        http_status: None,
        residue: match reconciliation {
            Reconciliation::NoProof => RemainingTokens::Possible,
            _ => context.residue_of(usize::try_from(left.token_count).unwrap_or_default()),
        },
    };
    let text = match reconciliation {
        Reconciliation::Stored => return context.ledger.commit_batch(&outcome, Rows::Any).await,
        Reconciliation::NotStored => {
            "the process ended before a response arrived; nothing of the batch is stored"
        }
        Reconciliation::NoProof => {
            "the process ended before a response arrived, and nothing proves whether the batch is stored: its tokens are sent again"
        }
        Reconciliation::Unknown | Reconciliation::Stopped => return Ok(()),
    };
    let reason = Reason::transport("not_stored", text);
    context.ledger.fail_batch(&outcome, &reason, &[]).await
}
