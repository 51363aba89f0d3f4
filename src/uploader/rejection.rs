//! Rejections: which tokens failed, and what is sent again.

use fail::fail_point;
use tracing::debug;

use super::{
    attempt::Sent,
    bisect::{self, Bisection},
    context::Uploader,
};
use crate::{
    config::OnFailure,
    descope::Named,
    domain::{Batch, Reason},
    ledger::{BatchOutcome, LedgerError},
};

/// Who a refusal blames.
pub(super) enum Refused {
    Named(Vec<(usize, Reason)>),
    Whole(Reason),
    /// The same, for its size.
    TooLarge(Reason),
}

impl Uploader {
    /// Who is to blame for a refusal with names.
    pub(super) fn attribute_failures(batch: &Batch, named: &[Named]) -> Refused {
        match bisect::by_name(batch, named) {
            Some(blamed) => Refused::Named(blamed),
            // Names that are not in the batch: the first one's words are the best there are.
            None => Refused::Whole(
                named
                    .first()
                    .map_or_else(nameless, |named| bisect::api_reason(&named.refusal)),
            ),
        }
    }

    /// Records the refusal, and says what is sent again.
    pub(super) async fn refuse(
        &self,
        batch: Batch,
        outcome: &BatchOutcome,
        refused: Refused,
    ) -> Result<Sent, LedgerError> {
        let count = batch.items.len();
        let pages: Vec<u64> = batch.items.iter().map(|item| item.page).collect();
        let is_too_large = matches!(refused, Refused::TooLarge(_));
        let (mut reason, isolated) = match (refused, self.on_failure()) {
            (Refused::Named(blamed), OnFailure::Isolate) => {
                (batch_reason(&blamed, count), bisect::without(batch, blamed))
            }
            (Refused::Named(blamed), OnFailure::Reject) => {
                (batch_reason(&blamed, count), reject_all(count, blamed))
            }
            (Refused::Whole(reason) | Refused::TooLarge(reason), OnFailure::Isolate) => {
                (reason.clone(), bisect::by_halving(batch, || reason))
            }
            (Refused::Whole(reason) | Refused::TooLarge(reason), OnFailure::Reject) => {
                let blamed = (0..count).map(|position| (position, reason.clone())).collect();
                (
                    reason,
                    Bisection {
                        blamed,
                        again: Vec::new(),
                    },
                )
            }
        };
        if isolated.blamed.is_empty() {
            reason.text = format!("{} (no token was named: sent again in halves)", reason.text);
        }
        self.ledger()
            .fail_batch(outcome, &reason, &isolated.blamed)
            .await?;
        fail_point!("isolating");
        debug!(
            status = outcome.http_status,
            code = %reason.code,
            failed = isolated.blamed.len(),
            batches_again = isolated.again.len(),
            "refused"
        );
        let failed: Vec<(u64, Reason)> = isolated
            .blamed
            .into_iter()
            .filter_map(|(position, reason)| Some((*pages.get(position)?, reason)))
            .collect();
        let mut again = isolated.again;
        for batch in &mut again {
            batch.parent = Some(outcome.batch.id);
        }
        let reason = failed.first().map_or(reason, |(_, reason)| reason.clone());
        Ok(Sent::Refused {
            failed,
            reason,
            again,
            is_too_large,
        })
    }
}

fn nameless() -> Reason {
    Reason::api("refused", "the API refused the batch")
}

/// The batch's own reason: that of its first culprit, and how many there are.
fn batch_reason(blamed: &[(usize, Reason)], count: usize) -> Reason {
    let first = blamed.first().map_or_else(nameless, |(_, reason)| reason.clone());
    Reason {
        text: format!(
            "{} of {count} tokens refused, the first: {}",
            blamed.len(),
            first.text
        ),
        ..first
    }
}

/// `on_failure = "reject"`: those that were not named fail with the batch.
fn reject_all(count: usize, blamed: Vec<(usize, Reason)>) -> Bisection {
    let mut named = blamed.into_iter().peekable();
    let blamed = (0..count)
        .map(|position| {
            named.next_if(|(at, _)| *at == position).unwrap_or_else(|| {
                (
                    position,
                    Reason::api(
                        "batch_rejected",
                        "another token of its batch was refused, and `on_failure` is \"reject\"",
                    ),
                )
            })
        })
        .collect();
    Bisection {
        blamed,
        again: Vec::new(),
    }
}
