//! Attempts: sends one batch until its outcome is known.

use std::time::Duration;

use fail::fail_point;
use tokio::time::Instant;
use tracing::{Instrument, debug, error_span, info, warn};

use super::{bisect, context::Uploader, intent::Intent, rejection::Refused};
use crate::{
    descope::{Refusal, RequestBody, UploadOutcome, redact},
    domain::{Batch, Reason},
    ledger::{LedgerError, Rows},
    rate::RetryLoop,
};

/// What became of one batch as it was.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it is stored, and the ledger says so.
    Committed(Batch),
    /// Nothing of it is stored. These tokens failed, and the ledger says so; the rest is to be sent in other batches.
    Refused {
        /// The pages of the failed tokens, in their order, and why each did.
        failed: Vec<(u64, Reason)>,
        /// Why the batch was.
        reason: Reason,
        again: Vec<Batch>,
        /// The API said that it was for the batch's size.
        is_too_large: bool,
    },
    /// Nothing of it is stored, as no attempt got through; it may be sent later.
    Exhausted { batch: Batch, reason: Reason },
    /// It is unknown whether it is stored; the ledger has it in flight.
    Unknown(Unresolved),
    /// The run ends. Its tokens are pending, or, if it was under way, in flight in the ledger.
    Stopped,
}

/// A batch that may be stored or not.
#[derive(Debug)]
pub(super) struct Unresolved {
    pub(super) batch: Batch,
    pub(super) intent: Intent,
    /// From then on no attempt can be under way.
    pub(super) settled_at: Instant,
}

/// What an answer leads to.
pub(super) enum Next {
    /// It is known what became of the batch.
    Done(Sent),
    /// Nothing of it is stored: it is sent again when the API lets requests pass.
    Held { batch: Batch, intent: Intent },
    /// It may be sent again after a while.
    Again {
        batch: Batch,
        intent: Intent,
        refusal: Refusal,
        wait: Duration,
    },
}

impl Uploader {
    /// Sends a batch until it is known what became of it, or attempts run out, or the run is stopped.
    pub(super) async fn send(&self, batch: Batch) -> Result<Sent, LedgerError> {
        // Of the gravest level, so that whatever is logged at all says which batch it is about.
        let span = error_span!(
            "batch",
            batch_id = tracing::field::Empty,
            tokens = batch.items.len()
        );
        self.send_within(batch, &span).instrument(span.clone()).await
    }

    async fn send_within(&self, mut batch: Batch, span: &tracing::Span) -> Result<Sent, LedgerError> {
        let mut attempts = self.attempts();
        let mut intended: Option<Intent> = None;
        let mut unsent: Option<RequestBody> = None;
        loop {
            let Some(number) = attempts.next().await else {
                // Of what was sent before, if anything, the outcome was settled: else this point is not reached.
                if let Some(intent) = &intended {
                    let reason = Reason::transport(
                        "interrupted",
                        "the run was stopped before this batch was sent again",
                    );
                    self.ledger()
                        .fail_batch(&intent.outcome(None), &reason, &[])
                        .await?;
                }
                return Ok(Sent::Stopped);
            };
            let mut intent = match intended.take() {
                None => {
                    let intent = self.intend(&batch).await?;
                    span.record("batch_id", intent.batch.id);
                    intent
                }
                Some(intent) => self.intend_again(intent, number).await?,
            };
            fail_point!("intent");
            // Put together once, and not before it can leave: the ledger may take its time.
            let body = unsent.take().unwrap_or_else(|| self.client().body(&batch));
            // The process may have been held up since.
            while !self.is_fresh(&intent) {
                intent = self.intend_again(intent, number).await?;
            }
            fail_point!("departing");
            if number > 1 {
                self.meter().retry();
            }
            debug!(
                attempt = number,
                subject = batch.subject.as_str(),
                parent_id = batch.parent,
                "sending"
            );
            let answer = self.exchange(&batch, &body, &intent).await;
            unsent = (answer != UploadOutcome::Committed).then_some(body);
            fail_point!("answered");
            let (refusal, wait) = match self.after(answer, intent, batch, &mut attempts).await? {
                Next::Done(sent) => return Ok(sent),
                Next::Held {
                    batch: same_batch,
                    intent: same_intent,
                } => {
                    batch = same_batch;
                    intended = Some(same_intent);
                    continue;
                }
                Next::Again {
                    batch: same_batch,
                    intent: same_intent,
                    refusal,
                    wait,
                } => {
                    batch = same_batch;
                    intended = Some(same_intent);
                    (refusal, wait)
                }
            };
            info!(
                attempt = number,
                status = refusal.status,
                code = %refusal.code,
                wait_s = wait.as_secs_f64(),
                "attempt failed, retrying"
            );
            if !attempts.again(wait).await {
                warn!(
                    attempt = number,
                    status = refusal.status,
                    code = %refusal.code,
                    "retries exhausted"
                );
                let text = format!("{} ({number} attempts)", refusal.text);
                let reason = Reason::transport(refusal.code.clone(), text);
                if let Some(intent) = &intended {
                    self.ledger()
                        .fail_batch(&intent.outcome(refusal.status), &reason, &[])
                        .await?;
                }
                return Ok(Sent::Exhausted { batch, reason });
            }
        }
    }

    /// One request and its answer, which may be shown and recorded from here on.
    async fn exchange(&self, batch: &Batch, body: &RequestBody, intent: &Intent) -> UploadOutcome {
        let left_at = Instant::now();
        let deadline = self.deadline(intent);
        let answer = self
            .client()
            .upload(batch.subject, batch.call, body, deadline)
            .await;
        let took = left_at.elapsed();
        let answer = redact(
            answer,
            batch.items.iter().map(|item| &item.encoded),
            self.client().management_key(),
        );
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

    /// What is done about an answer.
    async fn after(
        &self,
        answer: UploadOutcome,
        intent: Intent,
        mut batch: Batch,
        attempts: &mut RetryLoop<'_>,
    ) -> Result<Next, LedgerError> {
        let outcome = |status| intent.outcome(status);
        let done = match answer {
            UploadOutcome::Committed => {
                // Stored: where the ledger takes its time, no tokens wait for it in memory.
                for item in &mut batch.items {
                    item.encoded.forget();
                }
                self.ledger()
                    .commit_batch(&outcome(Some(200)), Rows::of(&batch))
                    .await?;
                fail_point!("committed");
                debug!(attempt = intent.attempt, status = 200, "committed");
                Sent::Committed(batch)
            }
            UploadOutcome::Refused(named) => {
                let status = named.first().and_then(|named| named.refusal.status);
                let refused = Self::attribute_failures(&batch, &named);
                self.refuse(batch, &outcome(status), refused).await?
            }
            UploadOutcome::RefusedWhole(refusal) => {
                let reason = bisect::api_reason(&refusal);
                self.refuse(batch, &outcome(refusal.status), Refused::Whole(reason))
                    .await?
            }
            UploadOutcome::TooLarge(refusal) => {
                let reason = bisect::api_reason(&refusal);
                self.refuse(batch, &outcome(refusal.status), Refused::TooLarge(reason))
                    .await?
            }
            UploadOutcome::Hopeless(impasse, refusal) => {
                self.stop_at(impasse, &refusal);
                self.ledger()
                    .fail_batch(&outcome(refusal.status), &bisect::api_reason(&refusal), &[])
                    .await?;
                Sent::Stopped
            }
            UploadOutcome::RateLimited { retry_after } => {
                self.rate_limited(attempts, retry_after).await;
                return Ok(Next::Held { batch, intent });
            }
            UploadOutcome::TryAgain(refusal) => {
                return Ok(Next::Again {
                    batch,
                    intent,
                    refusal,
                    wait: attempts.delay(),
                });
            }
            UploadOutcome::Unknown {
                under_way,
                retry_after,
                refusal,
                impasse,
            } => {
                // Counted from the moment at which nobody waited for it any more, however late that was noticed.
                let settled_at = if under_way {
                    Instant::now() + self.settle_grace()
                } else {
                    Instant::now()
                };
                let unresolved = Unresolved {
                    batch,
                    intent,
                    settled_at,
                };
                if let Some(impasse) = impasse {
                    return Ok(Next::Done(self.at_impasse(unresolved, &refusal, impasse).await?));
                }
                let mut next = self.unknown(unresolved, refusal, attempts).await?;
                if let Next::Again { wait, .. } = &mut next {
                    let asked = retry_after.unwrap_or_default().min(self.retry().max_retry_after);
                    *wait = asked.max(*wait);
                }
                return Ok(next);
            }
        };
        Ok(Next::Done(done))
    }
}
