//! Attempts: sends one batch until its outcome is known.

use std::{ops::ControlFlow, time::Duration};

use fail::fail_point;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, error_span, info, warn};

use super::{
    bisect,
    context::Context,
    intent::Intent,
    outcome::{AttemptResult, Cause, NextAttempt, Unresolved},
    rejection::{Rejection, reject},
    size_limit::{Trial, quick},
    truncation::{self, Extent},
    unresolved, witnesses,
};
use crate::{
    descope::{Refusal, RequestBody, UploadOutcome, redact},
    domain::{Batch, Reason},
    ledger::{LedgerError, RemainingTokens, Rows},
    rate::RetryLoop,
};

/// The response to one attempt.
struct Exchanged {
    answer: UploadOutcome,
    intent: Intent,
    /// The end of the batch must be read back before it counts as stored.
    needs_proof: bool,
    /// It was the first attempt, and took little time.
    is_clean: bool,
}

/// Sends a batch until its outcome is known, the attempts are exhausted, or the run is stopped. The trial of
/// a batch that is larger than any before ends early if its first attempt does not settle it.
pub(super) async fn send(
    context: &Context,
    batch: Batch,
    trial: &mut Option<Trial>,
) -> Result<AttemptResult, LedgerError> {
    // The level is the highest one, so that every log line names its batch.
    let span = error_span!(
        "batch",
        batch_id = tracing::field::Empty,
        tokens = batch.items.len()
    );
    send_within(context, batch, trial, &span)
        .instrument(span.clone())
        .await
}

async fn send_within(
    context: &Context,
    mut batch: Batch,
    trial: &mut Option<Trial>,
    span: &Span,
) -> Result<AttemptResult, LedgerError> {
    let needs_proof = context.size_limit.needs_proof(&batch);
    let mut attempts = context.attempts();
    let mut intended: Option<Intent> = None;
    let mut unsent: Option<RequestBody> = None;
    loop {
        let Some(number) = attempts.start().await else {
            // The outcome of an earlier attempt, if any, is settled: otherwise the loop has returned before.
            if let Some(intent) = &intended {
                let text = "the run was stopped before this batch was sent again";
                let reason = Reason::transport("interrupted", text);
                context
                    .ledger
                    .fail_batch(&intent.outcome(None), &reason, &[])
                    .await?;
            }
            return Ok(AttemptResult::Stopped);
        };
        let mut intent = match intended.take() {
            None => record_intent(context, &batch, needs_proof, span).await?,
            Some(intent) => intent.renew(&context.ledger, &context.run, number).await?,
        };
        fail_point!("intent");
        // The body is built once, and only after the intent is recorded, so that it does not wait in memory
        // for a slow ledger.
        let body = unsent.take().unwrap_or_else(|| context.client.body(&batch));
        // The process may have been suspended since the intent was recorded.
        while !intent.is_fresh(context.timeout) {
            intent = intent.renew(&context.ledger, &context.run, number).await?;
        }
        fail_point!("departing");
        if number > 1 {
            context.control.meter.retry();
        }
        debug!(
            attempt = number,
            subject = batch.subject.as_str(),
            parent_id = batch.parent,
            "sending"
        );
        let (answer, took) = exchange(context, &batch, &body, &intent).await;
        unsent = (answer != UploadOutcome::Committed).then_some(body);
        fail_point!("answered");
        let exchanged = Exchanged {
            answer,
            intent,
            needs_proof,
            is_clean: number == 1 && took <= quick(context.timeout),
        };
        let next = match handle(context, exchanged, batch, &mut attempts).await? {
            ControlFlow::Break(result) => return Ok(result),
            ControlFlow::Continue(next) => next,
        };
        drop(trial.take());
        batch = next.batch;
        let intent = intended.insert(next.intent);
        let Some((refusal, wait)) = next.failure else {
            continue;
        };
        let (status, code) = (refusal.status, &refusal.code);
        info!(attempt = number, status, %code, wait_s = wait.as_secs_f64(), "attempt failed, retrying");
        if !attempts.wait_after_failure(wait).await {
            warn!(attempt = number, status, %code, "retries exhausted");
            let text = format!("{} ({number} attempts)", refusal.text);
            let reason = Reason::transport(refusal.code, text);
            context
                .ledger
                .fail_batch(&intent.outcome(status), &reason, &[])
                .await?;
            if intent.residue == RemainingTokens::Possible {
                batch.discard_evidence();
            }
            return Ok(AttemptResult::Exhausted { batch, reason });
        }
    }
}

async fn record_intent(
    context: &Context,
    batch: &Batch,
    needs_proof: bool,
    span: &Span,
) -> Result<Intent, LedgerError> {
    let key = context.ledger.key();
    let witnesses = if needs_proof {
        witnesses::choose_last(batch, key)
    } else {
        witnesses::choose(batch, key, context.readable_until())
    };
    let intent = Intent::record(&context.ledger, &context.run, batch, witnesses).await?;
    span.record("batch_id", intent.batch.id);
    Ok(intent)
}

/// Sends one request. Returns its redacted outcome, which may be shown and recorded, and the time until it.
async fn exchange(
    context: &Context,
    batch: &Batch,
    body: &RequestBody,
    intent: &Intent,
) -> (UploadOutcome, Duration) {
    let client = &context.client;
    let left_at = Instant::now();
    let deadline = intent.deadline(context.timeout);
    let answer = client.upload(batch.subject, batch.call, body, deadline).await;
    let took = left_at.elapsed();
    let encoded = batch.items.iter().map(|item| &item.encoded);
    let answer = redact(answer, encoded, client.management_key());
    debug!(
        attempt = intent.attempt,
        status = answer.status(),
        code = answer.code(),
        answer = answer.kind(),
        took_ms = took.as_secs_f64() * 1000.0,
        "answered"
    );
    (answer, took)
}

/// Records that a batch is stored.
async fn commit(
    context: &Context,
    mut batch: Batch,
    intent: &Intent,
    is_clean: bool,
) -> Result<AttemptResult, LedgerError> {
    // The tokens are stored, so they need not stay in memory while the ledger is written.
    for item in &mut batch.items {
        item.encoded.forget();
    }
    context
        .ledger
        .commit_batch(&intent.outcome(Some(200)), Rows::of(&batch))
        .await?;
    fail_point!("committed");
    debug!(attempt = intent.attempt, status = 200, "committed");
    Ok(AttemptResult::Committed { batch, is_clean })
}

/// Reads the end of a confirmed batch back before it counts as stored.
async fn prove(
    context: &Context,
    batch: Batch,
    intent: Intent,
    is_clean: bool,
    attempts: &mut RetryLoop<'_>,
) -> Result<ControlFlow<AttemptResult, NextAttempt>, LedgerError> {
    let submitted_at = intent.recorded_at.unix_seconds();
    let extent = truncation::measure(context, &batch, submitted_at).await;
    fail_point!("measured");
    let (subject, tokens) = (batch.subject, batch.items.len());
    let search = &context.size_limit;
    match extent {
        Extent::Whole => search.search(subject, |search| search.saw_whole(tokens)),
        Extent::Unclear(refusal) => {
            let (grew, whole) = search.search(subject, |search| (search.stop_growing(), search.whole()));
            if grew {
                warn!(
                    status = refusal.as_ref().and_then(|refusal| refusal.status),
                    code = refusal.as_ref().map(|refusal| &*refusal.code),
                    "batches do not grow further, since reading back does not show whether the API stores all of a larger one"
                );
            }
            if whole < tokens {
                info!("nothing shows that the API stored all of the batch: its end is sent again");
                let result = truncation::record(context, batch, &intent, whole, None).await?;
                return Ok(ControlFlow::Break(result));
            }
        }
        Extent::First { stored, missing_from } => {
            let result = truncation::record(context, batch, &intent, stored, Some(missing_from)).await?;
            return Ok(ControlFlow::Break(result));
        }
        Extent::Stopped => return Ok(ControlFlow::Break(AttemptResult::Stopped)),
        // It may take the API a while to show what it stored.
        Extent::Nothing | Extent::Unknown => {
            let unresolved = Unresolved {
                batch,
                intent,
                settled_at: Instant::now() + context.settle_grace,
            };
            let refusal = Refusal {
                status: Some(200),
                code: "not_stored".into(),
                text: "the API confirmed the batch, but does not show its tokens".to_owned(),
            };
            return unresolved::resolve(context, unresolved, refusal, attempts).await;
        }
    }
    let committed = commit(context, batch, &intent, is_clean).await?;
    Ok(ControlFlow::Break(committed))
}

/// Handles one response: returns the result, or the next attempt.
async fn handle(
    context: &Context,
    exchanged: Exchanged,
    mut batch: Batch,
    attempts: &mut RetryLoop<'_>,
) -> Result<ControlFlow<AttemptResult, NextAttempt>, LedgerError> {
    let ledger = &context.ledger;
    let Exchanged {
        answer,
        intent,
        needs_proof,
        is_clean,
    } = exchanged;
    let rejection = match answer {
        UploadOutcome::Committed if needs_proof => {
            return prove(context, batch, intent, is_clean, attempts).await;
        }
        UploadOutcome::Committed => {
            let committed = commit(context, batch, &intent, is_clean).await?;
            return Ok(ControlFlow::Break(committed));
        }
        UploadOutcome::Refused(named) => {
            let status = named.first().and_then(|named| named.refusal.status);
            (Rejection::by_name(&batch, &named), status)
        }
        UploadOutcome::RefusedWhole(refusal) => {
            (Rejection::of_batch(&refusal, Cause::Unnamed), refusal.status)
        }
        UploadOutcome::TooLarge(refusal) => (Rejection::of_batch(&refusal, Cause::TooLarge), refusal.status),
        UploadOutcome::Hopeless(impasse, refusal) => {
            context.stop_at(impasse, &refusal);
            let reason = bisect::api_reason(&refusal);
            ledger
                .fail_batch(&intent.outcome(refusal.status), &reason, &[])
                .await?;
            return Ok(ControlFlow::Break(AttemptResult::Stopped));
        }
        UploadOutcome::RateLimited { retry_after } => {
            context.rate_limited(attempts, retry_after).await;
            return Ok(ControlFlow::Continue(NextAttempt {
                batch,
                intent,
                failure: None,
            }));
        }
        UploadOutcome::TryAgain(refusal) => {
            return Ok(ControlFlow::Continue(NextAttempt {
                batch,
                intent,
                failure: Some((refusal, attempts.delay())),
            }));
        }
        UploadOutcome::Unknown {
            under_way,
            retry_after,
            refusal,
            impasse,
        } => {
            // The grace period starts now, when this process no longer waits for the response, even if it
            // noticed that late.
            let grace = if under_way {
                context.settle_grace
            } else {
                Duration::ZERO
            };
            let unresolved = Unresolved {
                batch,
                intent,
                settled_at: Instant::now() + grace,
            };
            if let Some(impasse) = impasse {
                let result = unresolved::resolve_at_impasse(context, unresolved, &refusal, impasse).await?;
                return Ok(ControlFlow::Break(result));
            }
            let mut next = unresolved::resolve(context, unresolved, refusal, attempts).await?;
            if let ControlFlow::Continue(NextAttempt {
                failure: Some((_, wait)),
                ..
            }) = &mut next
            {
                let asked = retry_after.unwrap_or_default().min(context.retry.max_retry_after);
                *wait = asked.max(*wait);
            }
            return Ok(next);
        }
    };
    let (rejection, status) = rejection;
    if intent.residue == RemainingTokens::Possible {
        batch.discard_evidence();
    }
    let rejected = reject(context, batch, &intent.outcome(status), rejection).await?;
    Ok(ControlFlow::Break(AttemptResult::Rejected(rejected)))
}
