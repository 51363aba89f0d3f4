//! One batch, one content: sent until it is known what became of it.

use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, info_span, warn};

use super::{
    Settlement,
    isolate::{self, Isolated},
    retry::Delays,
    uploader::{UploadError, Uploader},
};
use crate::{
    config::{OnFailure, OnUnknown},
    descope::{Answer, Refusal, RequestBody, Scrubber},
    ledger::OutcomeOf,
    model::{Batch, Reason, StopReason},
};

/// What became of one batch as it was.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it is stored, and the ledger says so.
    Committed(Batch),
    /// Nothing of it is stored. These tokens failed, and the ledger says so; the rest is to be sent in other batches.
    Refused {
        /// The pages of the failed tokens, in their order.
        failed: Vec<u64>,
        again: Vec<Batch>,
    },
    /// Nothing of it is stored, as no attempt got through; it may be sent later.
    Exhausted { batch: Batch, reason: Reason },
    /// It is unknown whether it is stored; the ledger has it in flight.
    Unknown { batch: Batch, id: i64 },
    /// The run ends. Its tokens are pending, or, if it was under way, in flight in the ledger.
    Stopped,
}

impl Uploader {
    /// Sends a batch until it is known what became of it, or attempts run out, or the run is stopped.
    pub(super) async fn send(&self, batch: Batch) -> Result<Sent, UploadError> {
        let span = info_span!(
            "batch",
            batch_id = tracing::field::Empty,
            tokens = batch.items.len()
        );
        self.send_inner(batch, span.clone()).instrument(span).await
    }

    async fn send_inner(&self, batch: Batch, span: tracing::Span) -> Result<Sent, UploadError> {
        let body = RequestBody::new(batch.items.iter().map(|item| &item.encoded));
        let retry = self.retry();
        let mut delays = Delays::new(&retry);
        let mut opened: Option<i64> = None;
        let mut attempts: u32 = 0;
        loop {
            if self.ready().await.is_none() {
                // Whatever was sent before is known not to be stored, or this point is not reached.
                if let Some(id) = opened {
                    let reason = Reason::transport(
                        "interrupted",
                        "the run was stopped before this batch was sent again",
                    );
                    self.ledger()
                        .fail_batch(&outcome(id, attempts, None), &reason, &[])
                        .await?;
                }
                return Ok(Sent::Stopped);
            }
            attempts += 1;
            let id = match opened {
                None => {
                    let id = self.open(&batch).await?;
                    span.record("batch_id", id);
                    *opened.insert(id)
                }
                Some(id) => {
                    self.ledger().reopen_batch(id, attempts.cast_signed()).await?;
                    id
                }
            };
            self.traffic().request(attempts > 1);
            let settled_at = Instant::now() + self.timeout();
            let answer = self.client().upload(batch.subject, &body).await;
            debug!(attempt = attempts, answer = kind(&answer), "answered");
            let (refusal, wait) = match answer {
                Answer::Committed => {
                    self.ledger()
                        .commit_batch(&outcome(id, attempts, Some(200)))
                        .await?;
                    return Ok(Sent::Committed(batch));
                }
                Answer::Refused(named) => {
                    let scrubber = self.scrubber(&batch);
                    let status = named.first().and_then(|named| named.refusal.status);
                    let blamed = isolate::by_name(&batch, &named, &scrubber);
                    let isolated =
                        match blamed {
                            Some(blamed) => Refused::Named(blamed),
                            // Names that are not in the batch: the first one's words are the best there are.
                            None => Refused::Whole(named.first().map_or_else(nameless, |named| {
                                isolate::api_reason(&named.refusal, &scrubber)
                            })),
                        };
                    return self.refuse(batch, &outcome(id, attempts, status), isolated).await;
                }
                Answer::RefusedWhole(refusal) => {
                    let reason = isolate::api_reason(&refusal, &self.scrubber(&batch));
                    return self
                        .refuse(
                            batch,
                            &outcome(id, attempts, refusal.status),
                            Refused::Whole(reason),
                        )
                        .await;
                }
                Answer::TooLarge(refusal) => {
                    self.size_limit().lower(batch.items.len() / 2);
                    let reason = isolate::api_reason(&refusal, &self.scrubber(&batch));
                    return self
                        .refuse(
                            batch,
                            &outcome(id, attempts, refusal.status),
                            Refused::Whole(reason),
                        )
                        .await;
                }
                Answer::Credentials(refusal) => {
                    return self
                        .stop_at(
                            &batch,
                            &outcome(id, attempts, refusal.status),
                            &refusal,
                            StopReason::Credentials,
                        )
                        .await;
                }
                Answer::Endpoint(refusal) => {
                    return self
                        .stop_at(
                            &batch,
                            &outcome(id, attempts, refusal.status),
                            &refusal,
                            StopReason::Endpoint,
                        )
                        .await;
                }
                Answer::RateLimited { retry_after } => {
                    self.rate_limited(retry_after, delays.next());
                    let refusal = Refusal {
                        status: Some(429),
                        code: "rate_limited".into(),
                        text: "the API's quota is used up, and it stayed so".into(),
                    };
                    (refusal, std::time::Duration::ZERO)
                }
                Answer::TryAgain { retry_after, refusal } => {
                    let wait = retry_after
                        .unwrap_or_default()
                        .min(retry.max_retry_after)
                        .max(delays.next());
                    (refusal, wait)
                }
                Answer::Unknown { under_way, refusal } => {
                    warn!(code = %refusal.code, "the outcome is unknown");
                    let settled_at = if under_way { settled_at } else { Instant::now() };
                    match self.resolve(&batch, settled_at).await {
                        Settlement::Committed => {
                            let status = refusal.status.map(i32::from);
                            let outcome = OutcomeOf {
                                batch: id,
                                attempts: attempts.cast_signed(),
                                http_status: status,
                            };
                            self.ledger().commit_batch(&outcome).await?;
                            return Ok(Sent::Committed(batch));
                        }
                        Settlement::NotThere => (refusal, delays.next()),
                        Settlement::Unknown => return Ok(Sent::Unknown { batch, id }),
                        Settlement::Stopped => return Ok(Sent::Stopped),
                    }
                }
            };
            if attempts >= retry.max_attempts {
                let text = format!(
                    "{} ({attempts} attempts)",
                    self.scrubber(&batch).clean(&refusal.text)
                );
                let reason = Reason::transport(refusal.code.clone(), text);
                self.ledger()
                    .fail_batch(&outcome(id, attempts, refusal.status), &reason, &[])
                    .await?;
                return Ok(Sent::Exhausted { batch, reason });
            }
            debug!(code = %refusal.code, attempt = attempts, ?wait, "trying again");
            // If stopped, the next turn of the loop notices.
            self.stop().unless_turned(sleep(wait)).await;
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
        match (self.on_unknown(), self.witness(batch)) {
            (OnUnknown::Ask, Some(witness)) => self.settle(&witness.probe, &witness.digest, settled_at).await,
            _ => Settlement::NotThere,
        }
    }

    fn scrubber(&self, batch: &Batch) -> Scrubber {
        Scrubber::new(
            batch.items.iter().map(|item| &item.encoded),
            self.client().management_key(),
        )
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
        warn!(code = %reason.code, failed = isolated.blamed.len(), "refused");
        let failed = isolated
            .blamed
            .iter()
            .filter_map(|(position, _)| pages.get(*position).copied())
            .collect();
        let mut again = isolated.again;
        for batch in &mut again {
            batch.parent = Some(outcome.batch);
        }
        Ok(Sent::Refused { failed, again })
    }

    async fn stop_at(
        &self,
        batch: &Batch,
        outcome: &OutcomeOf,
        refusal: &Refusal,
        why: impl FnOnce(String) -> StopReason,
    ) -> Result<Sent, UploadError> {
        let reason = isolate::api_reason(refusal, &self.scrubber(batch));
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

fn outcome(batch: i64, attempts: u32, status: Option<u16>) -> OutcomeOf {
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
