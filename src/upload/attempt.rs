//! One batch, one content: sent until it is known what became of it.

use std::time::Duration;

use fail::fail_point;
use tokio::time::Instant;
use tracing::{Instrument, debug, error_span, info, warn};

use super::{
    Settlement, isolate,
    refuse::Refused,
    uploader::{UploadError, Uploader},
};
use crate::{
    config::OnUnknown,
    descope::{Answer, Refusal, RequestBody, scrub},
    ledger::{OutcomeOf, Rows},
    model::{Batch, Call, EventKind, Reason, StopReason},
    pace::Attempts,
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
    },
    /// Nothing of it is stored, as no attempt got through; it may be sent later.
    Exhausted { batch: Batch, reason: Reason },
    /// It is unknown whether it is stored; the ledger has it in flight.
    Unknown(InDoubt),
    /// The run ends. Its tokens are pending, or, if it was under way, in flight in the ledger.
    Stopped,
}

/// A batch that may be stored or not.
#[derive(Debug)]
pub(super) struct InDoubt {
    pub(super) batch: Batch,
    /// The batch in the ledger.
    pub(super) id: i64,
    /// Requests that carried it.
    pub(super) attempts: u32,
    /// From then on, "not there" is to be believed.
    pub(super) settled_at: Instant,
}

/// One request that carries a batch.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// The batch in the ledger.
    id: i64,
    /// Counts from 1.
    number: u32,
    /// From then on the request can no longer be under way.
    settled_at: Instant,
}

/// What an answer leads to.
enum Next {
    /// It is known what became of the batch.
    Done(Sent),
    /// Nothing of it is stored: it may be sent again after a while.
    Again {
        batch: Batch,
        refusal: Refusal,
        wait: Duration,
    },
}

impl Uploader {
    /// Sends a batch until it is known what became of it, or attempts run out, or the run is stopped.
    pub(super) async fn send(&self, batch: Batch) -> Result<Sent, UploadError> {
        // Of the gravest level, so that whatever is logged at all says which batch it is about.
        let span = error_span!(
            "batch",
            batch_id = tracing::field::Empty,
            tokens = batch.items.len()
        );
        self.send_within(batch, &span).instrument(span.clone()).await
    }

    async fn send_within(&self, mut batch: Batch, span: &tracing::Span) -> Result<Sent, UploadError> {
        let mut attempts = self.attempts();
        let mut opened: Option<(i64, u32)> = None;
        let mut unsent: Option<RequestBody> = None;
        loop {
            let Some(number) = attempts.next().await else {
                // What was sent before, if anything, is known not to be stored: else this point is not reached.
                if let Some((id, made)) = opened {
                    let reason = Reason::transport(
                        "interrupted",
                        "the run was stopped before this batch was sent again",
                    );
                    self.ledger()
                        .fail_batch(&outcome(id, made, None), &reason, &[])
                        .await?;
                }
                return Ok(Sent::Stopped);
            };
            let id = match opened {
                None => {
                    let id = self.open(&batch).await?;
                    span.record("batch_id", id);
                    id
                }
                Some((id, _)) => {
                    self.ledger()
                        .reopen_batch(self.run(), id, number.cast_signed())
                        .await?;
                    id
                }
            };
            opened = Some((id, number));
            fail_point!("intent");
            if number > 1 {
                self.meter().retry();
            }
            let attempt = Attempt {
                id,
                number,
                settled_at: Instant::now() + self.timeout(),
            };
            debug!(
                attempt = number,
                subject = batch.subject.as_str(),
                parent_id = batch.parent,
                "sending"
            );
            // Put together once, and not before it can leave: the ledger may take its time.
            let body = unsent.take().unwrap_or_else(|| RequestBody::new(&batch));
            let answer = self.exchange(&batch, &body, number).await;
            unsent = (answer != Answer::Committed).then_some(body);
            fail_point!("answered");
            let (refusal, wait) = match self.after(answer, attempt, batch, &mut attempts).await? {
                Next::Done(sent) => return Ok(sent),
                Next::Again {
                    batch: same,
                    refusal,
                    wait,
                } => {
                    batch = same;
                    (refusal, wait)
                }
            };
            // That the quota is used up is said of all batches at once.
            if refusal.status != Some(429) {
                info!(
                    attempt = number,
                    status = refusal.status,
                    code = %refusal.code,
                    wait_s = wait.as_secs_f64(),
                    "came to nothing"
                );
            }
            if !attempts.again(wait).await {
                warn!(
                    attempt = number,
                    status = refusal.status,
                    code = %refusal.code,
                    "no attempt got through"
                );
                let text = format!("{} ({number} attempts)", refusal.text);
                let reason = Reason::transport(refusal.code.clone(), text);
                self.ledger()
                    .fail_batch(&outcome(id, number, refusal.status), &reason, &[])
                    .await?;
                return Ok(Sent::Exhausted { batch, reason });
            }
        }
    }

    /// One request and its answer, which may be shown and recorded from here on.
    async fn exchange(&self, batch: &Batch, body: &RequestBody, number: u32) -> Answer {
        let left_at = Instant::now();
        let answer = self.client().upload(batch.subject, batch.call, body).await;
        let took = left_at.elapsed();
        let answer = scrub(
            answer,
            batch.items.iter().map(|item| &item.encoded),
            self.client().management_key(),
        );
        debug!(
            attempt = number,
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
        answer: Answer,
        attempt: Attempt,
        mut batch: Batch,
        attempts: &mut Attempts<'_>,
    ) -> Result<Next, UploadError> {
        let outcome = |status| outcome(attempt.id, attempt.number, status);
        let done = match answer {
            Answer::Committed => {
                // Stored: where the ledger takes its time, no tokens wait for it in memory.
                for item in &mut batch.items {
                    item.encoded.forget();
                }
                self.ledger()
                    .commit_batch(&outcome(Some(200)), Rows::of(&batch))
                    .await?;
                fail_point!("committed");
                debug!(attempt = attempt.number, status = 200, "committed");
                Sent::Committed(batch)
            }
            Answer::Refused(named) => {
                let status = named.first().and_then(|named| named.refusal.status);
                let refused = Self::blame(&batch, &named);
                self.refuse(batch, &outcome(status), refused).await?
            }
            Answer::RefusedWhole(refusal) => {
                let reason = isolate::api_reason(&refusal);
                self.refuse(batch, &outcome(refusal.status), Refused::Whole(reason))
                    .await?
            }
            Answer::TooLarge(refusal) => {
                // The size of a token by itself says nothing about batches.
                if batch.call == Call::Batch && self.size_limit().lower(batch.items.len() / 2) {
                    let detail = format!("{} tokens at most from here on", self.size_limit().get());
                    self.ledger().diary().note(EventKind::SizeLowered, Some(detail));
                }
                let reason = isolate::api_reason(&refusal);
                self.refuse(batch, &outcome(refusal.status), Refused::Whole(reason))
                    .await?
            }
            Answer::Credentials(refusal) => {
                self.stop_at(&outcome(refusal.status), &refusal, StopReason::Credentials)
                    .await?
            }
            Answer::Endpoint(refusal) => {
                self.stop_at(&outcome(refusal.status), &refusal, StopReason::Endpoint)
                    .await?
            }
            Answer::RateLimited { retry_after } => {
                self.rate_limited(retry_after, attempts.delay());
                let text = "the API's quota was used up, and stayed so".to_owned();
                let refusal = Refusal {
                    status: Some(429),
                    code: "rate_limited".into(),
                    text,
                };
                // The gate that was just closed is the wait.
                return Ok(Next::Again {
                    batch,
                    refusal,
                    wait: Duration::ZERO,
                });
            }
            Answer::TryAgain { retry_after, refusal } => {
                let asked = retry_after.unwrap_or_default().min(self.retry().max_retry_after);
                return Ok(Next::Again {
                    batch,
                    refusal,
                    wait: asked.max(attempts.delay()),
                });
            }
            Answer::Unknown { under_way, refusal } => {
                let settled_at = if under_way {
                    attempt.settled_at
                } else {
                    Instant::now()
                };
                return self
                    .unknown(
                        refusal,
                        Attempt {
                            settled_at,
                            ..attempt
                        },
                        batch,
                        attempts,
                    )
                    .await;
            }
        };
        Ok(Next::Done(done))
    }

    /// What is done where no answer tells what became of the batch.
    async fn unknown(
        &self,
        refusal: Refusal,
        attempt: Attempt,
        batch: Batch,
        attempts: &mut Attempts<'_>,
    ) -> Result<Next, UploadError> {
        warn!(
            attempt = attempt.number,
            status = refusal.status,
            code = %refusal.code,
            "the outcome is unknown"
        );
        let settlement = self.resolve(&batch, attempt.settled_at).await;
        info!(attempt = attempt.number, outcome = ?settlement, "asked what became of it");
        let done = match settlement {
            Settlement::Committed => {
                fail_point!("settling");
                let outcome = outcome(attempt.id, attempt.number, refusal.status);
                self.ledger().commit_batch(&outcome, Rows::of(&batch)).await?;
                Sent::Committed(batch)
            }
            Settlement::NotThere | Settlement::CannotAsk => {
                return Ok(Next::Again {
                    batch,
                    refusal,
                    wait: attempts.delay(),
                });
            }
            Settlement::Unknown => Sent::Unknown(InDoubt {
                batch,
                id: attempt.id,
                attempts: attempt.number,
                settled_at: attempt.settled_at,
            }),
            Settlement::Stopped => Sent::Stopped,
        };
        Ok(Next::Done(done))
    }

    async fn open(&self, batch: &Batch) -> Result<i64, UploadError> {
        let witness = self.witness(batch).ok_or(UploadError::NothingToRecognise)?;
        let by_refresh_token = witness.probe.by_refresh_token;
        let id = self
            .ledger()
            .open_batch(
                self.run(),
                batch,
                witness.position,
                by_refresh_token,
                &witness.digest,
            )
            .await?;
        Ok(id)
    }

    /// What is done about an unknown outcome.
    async fn resolve(&self, batch: &Batch, settled_at: Instant) -> Settlement {
        match self.on_unknown() {
            OnUnknown::Ask => self.settle(&self.witnesses(batch), settled_at).await,
            OnUnknown::Resend => Settlement::CannotAsk,
        }
    }
}

pub(super) fn outcome(batch: i64, attempts: u32, status: Option<u16>) -> OutcomeOf {
    OutcomeOf {
        batch,
        attempts: attempts.cast_signed(),
        http_status: status.map(i32::from),
    }
}
