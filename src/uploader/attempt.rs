//! Attempts: sends one batch until its outcome is known.

use std::{ops::ControlFlow, time::Duration};

use fail::fail_point;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, error_span, info, warn};

use super::{
    bisect,
    context::Context,
    intent::Intent,
    outcome::{AttemptResult, NextAttempt, Unresolved},
    rejection::{Rejection, reject},
    unresolved, witnesses,
};
use crate::{
    descope::{RequestBody, UploadOutcome, redact},
    domain::{Batch, Reason},
    ledger::{LedgerError, Rows},
    rate::RetryLoop,
};

/// Sends a batch until its outcome is known, the attempts are exhausted, or the run is stopped.
pub(super) async fn send(context: &Context, batch: Batch) -> Result<AttemptResult, LedgerError> {
    // The level is the highest one, so that every log line names its batch.
    let span = error_span!(
        "batch",
        batch_id = tracing::field::Empty,
        tokens = batch.items.len()
    );
    send_within(context, batch, &span).instrument(span.clone()).await
}

async fn send_within(context: &Context, mut batch: Batch, span: &Span) -> Result<AttemptResult, LedgerError> {
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
            None => record_intent(context, &batch, span).await?,
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
        let answer = exchange(context, &batch, &body, &intent).await;
        unsent = (answer != UploadOutcome::Committed).then_some(body);
        fail_point!("answered");
        let next = match handle(context, answer, intent, batch, &mut attempts).await? {
            ControlFlow::Break(result) => return Ok(result),
            ControlFlow::Continue(next) => next,
        };
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
            return Ok(AttemptResult::Exhausted { batch, reason });
        }
    }
}

async fn record_intent(context: &Context, batch: &Batch, span: &Span) -> Result<Intent, LedgerError> {
    let witnesses = witnesses::choose(batch, context.ledger.key(), context.readable_until());
    let intent = Intent::record(&context.ledger, &context.run, batch, witnesses).await?;
    span.record("batch_id", intent.batch.id);
    Ok(intent)
}

/// Sends one request and returns its redacted outcome, which may be shown and recorded.
async fn exchange(context: &Context, batch: &Batch, body: &RequestBody, intent: &Intent) -> UploadOutcome {
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
    answer
}

/// Handles one response: returns the result, or the next attempt.
async fn handle(
    context: &Context,
    answer: UploadOutcome,
    intent: Intent,
    mut batch: Batch,
    attempts: &mut RetryLoop<'_>,
) -> Result<ControlFlow<AttemptResult, NextAttempt>, LedgerError> {
    let ledger = &context.ledger;
    let rejection = match answer {
        UploadOutcome::Committed => {
            // The tokens are stored, so they need not stay in memory while the ledger is written.
            for item in &mut batch.items {
                item.encoded.forget();
            }
            ledger
                .commit_batch(&intent.outcome(Some(200)), Rows::of(&batch))
                .await?;
            fail_point!("committed");
            debug!(attempt = intent.attempt, status = 200, "committed");
            return Ok(ControlFlow::Break(AttemptResult::Committed(batch)));
        }
        UploadOutcome::Refused(named) => {
            let status = named.first().and_then(|named| named.refusal.status);
            (Rejection::by_name(&batch, &named), status)
        }
        UploadOutcome::RefusedWhole(refusal) => (Rejection::of_batch(&refusal, false), refusal.status),
        UploadOutcome::TooLarge(refusal) => (Rejection::of_batch(&refusal, true), refusal.status),
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
    let rejected = reject(context, batch, &intent.outcome(status), rejection).await?;
    Ok(ControlFlow::Break(AttemptResult::Rejected(rejected)))
}
