//! One batch, one content: sent until it is known what became of it.

use std::time::Duration;

use fail::fail_point;
use tokio::time::Instant;
use tracing::{Instrument, debug, error_span, info, warn};

use super::{
    Settlement,
    isolate::{self, Isolated},
    uploader::{UploadError, Uploader},
};
use crate::{
    config::{OnFailure, OnUnknown},
    descope::{Answer, Named, Refusal, RequestBody, scrub},
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
        let body = RequestBody::new(&batch);
        let mut attempts = self.attempts();
        let mut opened: Option<(i64, u32)> = None;
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
            let left_at = Instant::now();
            let answer = self.client().upload(batch.subject, batch.call, &body).await;
            let took = left_at.elapsed();
            // From here on, what the API said may be shown and recorded.
            let answer = scrub(
                answer,
                batch.items.iter().map(|item| &item.encoded),
                self.client().management_key(),
            );
            debug!(
                attempt = number,
                status = status(&answer),
                code = code(&answer),
                answer = kind(&answer),
                took_ms = took.as_secs_f64() * 1000.0,
                "answered"
            );
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

    /// What is done about an answer.
    async fn after(
        &self,
        answer: Answer,
        attempt: Attempt,
        batch: Batch,
        attempts: &mut Attempts<'_>,
    ) -> Result<Next, UploadError> {
        let outcome = |status| outcome(attempt.id, attempt.number, status);
        let done = match answer {
            Answer::Committed => {
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
                warn!(
                    attempt = attempt.number,
                    status = refusal.status,
                    code = %refusal.code,
                    "the outcome is unknown"
                );
                let settled_at = if under_way {
                    attempt.settled_at
                } else {
                    Instant::now()
                };
                let settlement = self.resolve(&batch, settled_at).await;
                info!(attempt = attempt.number, outcome = ?settlement, "asked what became of it");
                match settlement {
                    Settlement::Committed => {
                        fail_point!("settling");
                        self.ledger()
                            .commit_batch(&outcome(refusal.status), Rows::of(&batch))
                            .await?;
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
                        settled_at,
                    }),
                    Settlement::Stopped => Sent::Stopped,
                }
            }
        };
        Ok(Next::Done(done))
    }

    /// Who is to blame for a refusal with names.
    fn blame(batch: &Batch, named: &[Named]) -> Refused {
        match isolate::by_name(batch, named) {
            Some(blamed) => Refused::Named(blamed),
            // Names that are not in the batch: the first one's words are the best there are.
            None => Refused::Whole(
                named
                    .first()
                    .map_or_else(nameless, |named| isolate::api_reason(&named.refusal)),
            ),
        }
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

    /// Records the refusal, and says what is sent again.
    async fn refuse(&self, batch: Batch, outcome: &OutcomeOf, refused: Refused) -> Result<Sent, UploadError> {
        let count = batch.items.len();
        let pages: Vec<u64> = batch.items.iter().map(|item| item.page).collect();
        let (mut reason, isolated) = match (refused, self.on_failure()) {
            (Refused::Named(blamed), OnFailure::Isolate) => {
                (batch_reason(&blamed, count), isolate::without(batch, blamed))
            }
            (Refused::Named(blamed), OnFailure::Reject) => {
                (batch_reason(&blamed, count), reject_all(count, blamed))
            }
            (Refused::Whole(reason), OnFailure::Isolate) => {
                (reason.clone(), isolate::by_halving(batch, || reason))
            }
            (Refused::Whole(reason), OnFailure::Reject) => {
                let blamed = (0..count).map(|position| (position, reason.clone())).collect();
                (
                    reason,
                    Isolated {
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
            batch.parent = Some(outcome.batch);
        }
        let reason = failed.first().map_or(reason, |(_, reason)| reason.clone());
        Ok(Sent::Refused {
            failed,
            reason,
            again,
        })
    }

    async fn stop_at(
        &self,
        outcome: &OutcomeOf,
        refusal: &Refusal,
        why: impl FnOnce(String) -> StopReason,
    ) -> Result<Sent, UploadError> {
        let reason = isolate::api_reason(refusal);
        warn!(status = refusal.status, code = %refusal.code, "the API refuses whatever is sent: the run stops");
        let status = refusal
            .status
            .map(|status| format!("{status} "))
            .unwrap_or_default();
        self.stop()
            .turn(why(format!("{status}{}: {}", reason.code, reason.text)));
        self.ledger().fail_batch(outcome, &reason, &[]).await?;
        Ok(Sent::Stopped)
    }
}

/// Who a refusal blames.
enum Refused {
    Named(Vec<(usize, Reason)>),
    Whole(Reason),
}

fn nameless() -> Reason {
    Reason::api("refused", "the API refused the batch")
}

pub(super) fn outcome(batch: i64, attempts: u32, status: Option<u16>) -> OutcomeOf {
    OutcomeOf {
        batch,
        attempts: attempts.cast_signed(),
        http_status: status.map(i32::from),
    }
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
fn reject_all(count: usize, blamed: Vec<(usize, Reason)>) -> Isolated {
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
    Isolated {
        blamed,
        again: Vec::new(),
    }
}

/// The HTTP status of an answer, where there was one.
fn status(answer: &Answer) -> Option<u16> {
    match answer {
        Answer::Committed => Some(200),
        Answer::RateLimited { .. } => Some(429),
        _ => refusal(answer).and_then(|refusal| refusal.status),
    }
}

/// The code of a refusal.
fn code(answer: &Answer) -> Option<&str> {
    refusal(answer).map(|refusal| &*refusal.code)
}

/// Why an answer is no good, of several reasons the first.
fn refusal(answer: &Answer) -> Option<&Refusal> {
    match answer {
        Answer::Committed | Answer::RateLimited { .. } => None,
        Answer::Refused(named) => named.first().map(|named| &named.refusal),
        Answer::RefusedWhole(refusal)
        | Answer::TooLarge(refusal)
        | Answer::TryAgain { refusal, .. }
        | Answer::Unknown { refusal, .. }
        | Answer::Credentials(refusal)
        | Answer::Endpoint(refusal) => Some(refusal),
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Committed => "committed",
        Answer::Refused(_) => "refused",
        Answer::RefusedWhole(_) => "refused_whole",
        Answer::TooLarge(_) => "too_large",
        Answer::RateLimited { .. } => "rate_limited",
        Answer::TryAgain { .. } => "try_again",
        Answer::Unknown { .. } => "unknown",
        Answer::Credentials(_) => "credentials",
        Answer::Endpoint(_) => "endpoint",
    }
}
