//! Rejection of a batch: records the failed tokens and decides what is sent again.

use fail::fail_point;
use tracing::debug;

use super::{
    bisect::{self, Bisection},
    context::Context,
    outcome::{Cause, Rejected},
};
use crate::{
    config::OnFailure,
    descope::{Named, Refusal},
    domain::{Batch, Reason},
    ledger::{BatchOutcome, LedgerError},
};

/// A rejection, and the tokens of the batch that it names.
pub(super) struct Rejection {
    /// Positions in the batch, with their reasons. Empty if the response names none.
    named: Vec<(usize, Reason)>,
    reason: Reason,
    cause: Cause,
}

impl Rejection {
    /// Returns the rejection for a response that names tokens. If none of them is in the batch, the reason of
    /// the first one is that of the batch.
    pub(super) fn by_name(batch: &Batch, named: &[Named]) -> Self {
        let first = named.first().map(|named| bisect::api_reason(&named.refusal));
        let named = bisect::by_name(batch, named);
        let reason = match named.first() {
            Some((_, first)) => Reason {
                text: format!(
                    "{} of {} tokens rejected, the first: {}",
                    named.len(),
                    batch.items.len(),
                    first.text
                ),
                ..first.clone()
            },
            None => first.unwrap_or_else(|| Reason::api("refused", "the API rejected the batch")),
        };
        Self {
            named,
            reason,
            cause: Cause::Tokens,
        }
    }

    /// Returns the rejection for a response that names no token.
    pub(super) fn of_batch(refusal: &Refusal, cause: Cause) -> Self {
        Self {
            named: Vec::new(),
            reason: bisect::api_reason(refusal),
            cause,
        }
    }

    /// Splits the batch as `on_failure` says. Also returns the reason of the batch.
    fn take_apart(self, batch: Batch, on_failure: OnFailure) -> (Bisection, Reason) {
        let Self { named, reason, .. } = self;
        match (on_failure, named.is_empty()) {
            (OnFailure::Isolate, false) => (bisect::without(batch, named), reason),
            (OnFailure::Isolate, true) => (bisect::blame_single(batch, &reason), reason),
            (OnFailure::Reject, is_whole) => {
                let other = if is_whole {
                    reason.clone()
                } else {
                    Reason::api(
                        "batch_rejected",
                        "another token of its batch was rejected, and `on_failure` is \"reject\"",
                    )
                };
                (bisect::reject_all(batch.items.len(), named, &other), reason)
            }
        }
    }
}

/// Records the rejection, and decides what is sent again.
pub(super) async fn reject(
    context: &Context,
    batch: Batch,
    outcome: &BatchOutcome,
    rejection: Rejection,
) -> Result<Rejected, LedgerError> {
    let pages: Vec<u64> = batch.items.iter().map(|item| item.page).collect();
    let cause = rejection.cause;
    let (bisection, mut reason) = rejection.take_apart(batch, context.batch.on_failure);
    if bisection.blamed.is_empty() {
        reason.text = format!(
            "{} (the API named no token: sent again in smaller batches)",
            reason.text
        );
    }
    context
        .ledger
        .fail_batch(outcome, &reason, &bisection.blamed)
        .await?;
    fail_point!("isolating");
    debug!(
        status = outcome.http_status,
        code = %reason.code,
        failed = bisection.blamed.len(),
        tokens_again = bisection.again.as_ref().map_or(0, |batch| batch.items.len()),
        "refused"
    );
    let failed: Vec<(u64, Reason)> = bisection
        .blamed
        .into_iter()
        .filter_map(|(position, reason)| Some((*pages.get(position)?, reason)))
        .collect();
    let mut again = bisection.again;
    if let Some(batch) = &mut again {
        batch.parent = Some(outcome.batch.id);
    }
    let reason = failed.first().map_or(reason, |(_, reason)| reason.clone());
    Ok(Rejected {
        failed,
        again,
        reason,
        cause,
    })
}
