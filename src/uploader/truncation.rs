//! Truncation check: an API may respond that it stored a batch and store only its first tokens. So the end of
//! a larger batch than ever before is read back before the batch counts as stored.

use std::ops::ControlFlow;

use fail::fail_point;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{
    Reconciliation,
    context::Context,
    intent::Intent,
    outcome::AttemptResult,
    reconcile::ask_witness,
    witnesses::{choose, witness},
};
use crate::{
    descope::{ReadBackVerdict, Refusal},
    domain::{Batch, Reason, StopReason},
    ledger::{LedgerError, RemainingTokens, Rows},
    rate::RetryLoop,
};

/// The part of a batch that is stored, according to its last token.
#[derive(Debug)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// `stored` tokens at its beginning. The one at `missing_from` is not stored; those in between show
    /// nothing.
    First { stored: usize, missing_from: usize },
    /// Nothing of it, as far as can be seen.
    Nothing,
    /// The API does not show the token in a way that proves anything.
    Unclear(Option<Refusal>),
    /// The API gives no usable response.
    Unknown,
    /// The run was stopped first.
    Stopped,
}

/// Reads the last token of a batch back, and searches for the last one that is stored if it is not.
/// `submitted_at` is in seconds since 1970.
pub(super) async fn measure(context: &Context, batch: &Batch, submitted_at: i64) -> Extent {
    let mut attempts = context.attempts().through_pauses();
    let until = context.readable_until();
    let end = batch.items.len() - 1;
    let settled_at = Instant::now() + context.settle_grace;
    match is_stored(context, batch, end, submitted_at, &mut attempts).await {
        Ok(true) => return Extent::Whole,
        // It may take the API a while to show what it stored, and one odd response proves nothing.
        Ok(false) | Err(Extent::Unclear(_)) => {}
        Err(other) => return other,
    }
    let settled = sleep_until(settled_at);
    if context.stop().run_until_stopped(settled).await.is_none() {
        return Extent::Stopped;
    }
    match is_stored(context, batch, end, submitted_at, &mut attempts).await {
        Ok(true) => return Extent::Whole,
        Ok(false) => {}
        Err(other) => return other,
    }
    let readable: Vec<usize> = (0..end)
        .filter(|&position| batch.items[position].can_testify(until))
        .collect();
    // The readable ones before `low` are stored, those from `high` on are not.
    let (mut low, mut high, mut missing_from) = (0, readable.len(), end);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_stored(context, batch, readable[middle], submitted_at, &mut attempts).await {
            Ok(true) => low = middle + 1,
            Ok(false) => {
                high = middle;
                missing_from = readable[middle];
            }
            // Of a token that shows nothing it is not claimed that it is stored.
            Err(Extent::Unclear(_)) => high = middle,
            Err(other) => return other,
        }
    }
    match low.checked_sub(1) {
        Some(last) => Extent::First {
            stored: readable[last] + 1,
            missing_from,
        },
        None => Extent::Nothing,
    }
}

async fn is_stored(
    context: &Context,
    batch: &Batch,
    position: usize,
    submitted_at: i64,
    attempts: &mut RetryLoop<'_>,
) -> Result<bool, Extent> {
    let Some(witness) = witness(&batch.items[position], context.ledger.key()) else {
        return Err(Extent::Unclear(None));
    };
    match ask_witness(context, &witness, submitted_at, attempts).await {
        ControlFlow::Continue(Ok(ReadBackVerdict::Stored)) => Ok(true),
        ControlFlow::Continue(Ok(ReadBackVerdict::NotStored)) => Ok(false),
        ControlFlow::Continue(Ok(ReadBackVerdict::Nothing)) => Err(Extent::Unclear(None)),
        ControlFlow::Continue(Err(refusal)) => Err(Extent::Unclear(Some(refusal))),
        ControlFlow::Break(Reconciliation::Stopped) => Err(Extent::Stopped),
        ControlFlow::Break(_) => Err(Extent::Unknown),
    }
}

/// Records that only the first `count` tokens of a batch are stored, as far as is known: these as a batch of
/// their own, the others as pending. `missing_from` is the position of a token that is not stored.
pub(super) async fn record(
    context: &Context,
    mut batch: Batch,
    intent: &Intent,
    count: usize,
    missing_from: Option<usize>,
) -> Result<AttemptResult, LedgerError> {
    let (ledger, tokens) = (&context.ledger, batch.items.len());
    let reason = if missing_from.is_some() {
        warn!(
            stored = count,
            sent = tokens,
            "the API confirmed a batch and stored only its first tokens: the others are sent again, in batches that it stores whole"
        );
        let text =
            format!("the API confirmed the batch, but stored only the first {count} of its {tokens} tokens");
        Reason::api("truncated", text)
    } else {
        let text = format!(
            "the API confirmed the batch, but does not show whether it stored more than the first {count} of its {tokens} tokens"
        );
        Reason::api("unproven", text)
    };
    let parent = Some(intent.batch.id);
    let mut rest = Batch {
        subject: batch.subject,
        call: batch.call,
        items: batch.items.split_off(count),
        parent,
    };
    let mut stored = Batch { parent, ..batch };
    rest.discard_evidence();
    // If the process is killed between two of these steps, reading back settles both batches: the witness of
    // the larger one is its last token.
    let witnesses = choose(&stored, ledger.key(), context.readable_until());
    let part = Intent::record(ledger, &context.run, &stored, witnesses).await?;
    fail_point!("truncated");
    let mut outcome = intent.outcome(Some(200));
    // The same for later processes, until they were sent again.
    outcome.residue = RemainingTokens::Possible;
    ledger.fail_batch(&outcome, &reason, &[]).await?;
    for item in &mut stored.items {
        item.encoded.forget();
    }
    ledger
        .commit_batch(&part.outcome(Some(200)), Rows::of(&stored))
        .await?;
    debug!(stored = count, "committed");
    Ok(AttemptResult::Truncated {
        stored,
        rest,
        missing_from,
    })
}

/// Learns how many tokens of a batch the API stores. Ends the run if that is fewer than batches may have had
/// before: the end of those was never read back.
pub(super) fn learn(context: &Context, stored: &Batch, missing_from: usize) {
    let trusted = context.batch.max_tokens;
    let is_short = missing_from < trusted;
    // Those that show nothing are no evidence against the configured size.
    let count = if is_short {
        stored.items.len()
    } else {
        stored.items.len().max(trusted)
    };
    context
        .size_limit
        .search(stored.subject, |search| search.truncate(count));
    if is_short {
        context.stop().trigger(StopReason::Endpoint(format!(
            "the API confirms batches and stores only their first {count} tokens, fewer than `batch.max_tokens`: tokens of \
             earlier batches may be missing although it confirmed them. Set `batch.max_tokens` and `batch.grow_to` to \
             {count} at most, and run `tokenferry verify`"
        )));
    }
}
