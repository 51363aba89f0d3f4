//! Reconciliation of a batch whose response was lost: some of its tokens, the witnesses, are read back.
//!
//! The API stores a batch completely or not at all. So a witness that shows a value which cannot have been
//! there before proves that the whole batch is stored. A witness that shows something else, or is absent,
//! proves that nothing is stored, once the request can no longer be in flight. A witness that shows neither
//! proves nothing.

use std::ops::ControlFlow;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{context::Context, witnesses::MAX_WITNESSES};
use crate::{
    config::OnUnknown,
    descope::{LookupOutcome, ReadBackVerdict, Refusal},
    domain::{StopReason, Witness},
    rate::RetryLoop,
};

/// The outcome of a batch, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciliation {
    /// All of it is stored.
    Stored,
    /// Nothing of it is stored, and no request can be in flight any more.
    NotStored,
    /// No witness proves anything, and no request can be in flight any more. Sending the same tokens again
    /// leaves the same token at each destination.
    NoProof,
    /// The API gives no usable response.
    Unknown,
    /// The run was stopped before the outcome was known.
    Stopped,
}

/// A batch to reconcile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) witnesses: &'a [Witness],
    /// Time of its last attempt, in seconds since 1970.
    pub(super) submitted_at: i64,
    /// From this time on, no request for it can be in flight.
    pub(super) settled_at: Instant,
    /// True if the response to the upload may not be from the API. Then inconclusive read-backs leave the
    /// batch to a later process. Otherwise they are repeated once the request can no longer be in flight.
    pub(super) is_api_in_doubt: bool,
}

/// Number of witnesses that must deny before the others are skipped: a single token may have been deleted.
const ENOUGH_DENIALS: usize = 2;

/// Reads witnesses back until the outcome is known. Concludes "not stored" only from read-backs after
/// `settled_at`.
pub(super) async fn reconcile(context: &Context, question: Question<'_>) -> Reconciliation {
    let mut attempts = context.attempts().through_pauses();
    loop {
        let is_final = Instant::now() >= question.settled_at;
        match ask_witnesses(context, question, is_final, &mut attempts).await {
            Reconciliation::NotStored | Reconciliation::NoProof if !is_final => {
                debug!("not stored yet, reading back again once no request can be in flight");
                let settled = sleep_until(question.settled_at);
                if context.stop().run_until_stopped(settled).await.is_none() {
                    return Reconciliation::Stopped;
                }
            }
            Reconciliation::Unknown => {
                warn!(
                    "outcome still unknown: the API gives no usable response, and the batch stays in flight in the ledger"
                );
                return Reconciliation::Unknown;
            }
            reconciliation => return reconciliation,
        }
    }
}

/// Reads the witnesses back, one after the other, until one is conclusive.
async fn ask_witnesses(
    context: &Context,
    question: Question<'_>,
    is_final: bool,
    attempts: &mut RetryLoop<'_>,
) -> Reconciliation {
    let mut denials = 0;
    let mut denied = None;
    for witness in readable(context, question.witnesses).take(MAX_WITNESSES) {
        match ask_witness(context, witness, question.submitted_at, attempts).await {
            ControlFlow::Break(reconciliation) => return reconciliation,
            ControlFlow::Continue(Ok(ReadBackVerdict::Stored)) => return Reconciliation::Stored,
            ControlFlow::Continue(Ok(ReadBackVerdict::NotStored)) => {
                denials += 1;
                // Before `settled_at`, one denial is enough to wait for the final round.
                if denials == ENOUGH_DENIALS || !is_final {
                    return Reconciliation::NotStored;
                }
            }
            ControlFlow::Continue(Ok(ReadBackVerdict::Nothing)) => {
                debug!(
                    "inconclusive: the API shows another token of the same user, or no field that proves anything"
                );
            }
            ControlFlow::Continue(Err(refusal)) => denied = Some(refusal),
        }
    }
    if denials > 0 {
        return Reconciliation::NotStored;
    }
    if question.is_api_in_doubt {
        return Reconciliation::Unknown;
    }
    if let Some(refusal) = denied {
        context.warn_read_back_denied_once(&refusal);
    }
    Reconciliation::NoProof
}

/// Returns the witnesses that can be read back without changing anything at the API, or all of them if
/// `on_unknown` allows refreshes.
fn readable<'a>(context: &Context, witnesses: &'a [Witness]) -> impl Iterator<Item = &'a Witness> + use<'a> {
    let reads_expired = context.batch.on_unknown == OnUnknown::AskExpired;
    let until = context.readable_until();
    witnesses
        .iter()
        .filter(move |witness| reads_expired || witness.lives_until(until))
}

/// Reads one witness back. Returns its verdict, or the refusal if the API rejects the request twice. Breaks
/// if the API gives no usable response, or the run is stopped.
pub(super) async fn ask_witness(
    context: &Context,
    witness: &Witness,
    submitted_at: i64,
    attempts: &mut RetryLoop<'_>,
) -> ControlFlow<Reconciliation, Result<ReadBackVerdict, Refusal>> {
    let mut was_refused = false;
    while attempts.start().await.is_some() {
        let pays = async || context.attempts().through_pauses().start().await.is_some();
        match context.client.latest(&witness.probe, pays).await {
            LookupOutcome::Found(stored) => {
                let verdict = stored.verdict(witness, context.ledger.key(), submitted_at);
                return ControlFlow::Continue(Ok(verdict));
            }
            LookupOutcome::Absent => return ControlFlow::Continue(Ok(ReadBackVerdict::NotStored)),
            LookupOutcome::Credentials(refusal) if refusal.status == Some(401) => {
                // The batch stays in flight until a process with valid credentials reads it back.
                let text = format!("{}: {}", refusal.code, refusal.text);
                context.stop().trigger(StopReason::Credentials(text));
                return ControlFlow::Break(Reconciliation::Stopped);
            }
            // The page of a gateway, or a rejection of this request (403: this key may upload but not read),
            // says nothing about the token.
            LookupOutcome::Credentials(refusal)
            | LookupOutcome::Refused(refusal)
            | LookupOutcome::Endpoint(refusal) => {
                if was_refused {
                    return ControlFlow::Continue(Err(refusal));
                }
                was_refused = true;
            }
            LookupOutcome::RateLimited { retry_after } => {
                // The next attempt waits, or finds the run stopped.
                context.rate_limited(attempts, retry_after).await;
                continue;
            }
            LookupOutcome::TryAgain { refusal, .. } => {
                debug!(code = %refusal.code, "reading back gave no usable response");
            }
        }
        let wait = attempts.delay();
        if !attempts.wait_after_failure(wait).await {
            return ControlFlow::Break(Reconciliation::Unknown);
        }
    }
    ControlFlow::Break(Reconciliation::Stopped)
}
