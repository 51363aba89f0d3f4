//! Reconciliation of a batch whose answer was lost: witnesses are read back, and speak for all of it.
//!
//! A batch is stored as a whole or not at all. So one token that shows what cannot have been there before proves that all of
//! the batch is stored; and one that shows something else, or is absent, that nothing of it is, once the request can no longer
//! be under way. What no witness tells is never concluded.

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

/// What became of a batch, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciliation {
    /// All of it is stored.
    Stored,
    /// Nothing of it is stored, and no request can be under way any more.
    NotStored,
    /// No witness tells, and no request can be under way any more: sending the same again leaves the same at each destination.
    NoProof,
    /// The API gives no usable answer.
    Unknown,
    /// The run was stopped before there was an answer.
    Stopped,
}

/// A batch in question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) witnesses: &'a [Witness],
    /// When its last attempt left, in seconds since 1970.
    pub(super) submitted_at: i64,
    /// From then on no attempt can be under way.
    pub(super) settled_at: Instant,
    /// The upload's answer need not be the API's. If those about tokens are no better, the question is left to a later process;
    /// else it is asked again once the request can no longer be under way.
    pub(super) is_api_in_doubt: bool,
}

/// Witnesses that have to be absent before "not stored" is believed, where there are as many: a single one may have been deleted.
const ENOUGH_DENIALS: usize = 2;

/// Reads witnesses back until there is an answer. "Not stored" is concluded only from what was asked after `settled_at`.
pub(super) async fn reconcile(context: &Context, question: Question<'_>) -> Reconciliation {
    let mut attempts = context.attempts().through_pauses();
    loop {
        let is_final = Instant::now() >= question.settled_at;
        match ask_witnesses(context, question, is_final, &mut attempts).await {
            Reconciliation::NotStored | Reconciliation::NoProof if !is_final => {
                debug!("not stored yet, reading back again once no request can be under way");
                let settled = sleep_until(question.settled_at);
                if context.stop().run_until_stopped(settled).await.is_none() {
                    return Reconciliation::Stopped;
                }
            }
            Reconciliation::Unknown => {
                warn!(
                    "outcome still unknown: the API gives no usable answer, and the batch stays in flight in the ledger"
                );
                return Reconciliation::Unknown;
            }
            reconciliation => return reconciliation,
        }
    }
}

/// One round of questions.
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
                // Before the end one is enough to wait for it.
                if denials == ENOUGH_DENIALS || !is_final {
                    return Reconciliation::NotStored;
                }
            }
            ControlFlow::Continue(Ok(ReadBackVerdict::Nothing)) => {
                debug!("another token of the same user, or nothing that would tell, was shown");
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

/// The witnesses whose reading back changes nothing at the API.
fn readable<'a>(context: &Context, witnesses: &'a [Witness]) -> impl Iterator<Item = &'a Witness> + use<'a> {
    let reads_expired = context.batch.on_unknown == OnUnknown::AskExpired;
    let until = context.readable_until();
    witnesses
        .iter()
        .filter(move |witness| reads_expired || witness.lives_until(until))
}

/// Reads one witness back. Gives its verdict, or the refusal that comes in its place however often it is asked. Breaks off if
/// the API gives no answer at all, or the run is stopped.
async fn ask_witness(
    context: &Context,
    witness: &Witness,
    submitted_at: i64,
    attempts: &mut RetryLoop<'_>,
) -> ControlFlow<Reconciliation, Result<ReadBackVerdict, Refusal>> {
    let mut was_refused = false;
    while attempts.next().await.is_some() {
        let pays = async || context.attempts().through_pauses().next().await.is_some();
        match context.client.latest(&witness.probe, pays).await {
            LookupOutcome::Found(stored) => {
                let verdict = stored.verdict(witness, context.ledger.key(), submitted_at);
                return ControlFlow::Continue(Ok(verdict));
            }
            LookupOutcome::Absent => return ControlFlow::Continue(Ok(ReadBackVerdict::NotStored)),
            LookupOutcome::Credentials(refusal) if refusal.status == Some(401) => {
                // The batch stays in flight: it is read back when there are credentials that are accepted.
                let text = format!("{}: {}", refusal.code, refusal.text);
                context.stop().trigger(StopReason::Credentials(text));
                return ControlFlow::Break(Reconciliation::Stopped);
            }
            // A gateway's page, or a refusal of this one question (403: this key may upload, not read): no word about the token.
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
                debug!(code = %refusal.code, "reading back gave no usable answer");
            }
        }
        let wait = attempts.delay();
        if !attempts.again(wait).await {
            return ControlFlow::Break(Reconciliation::Unknown);
        }
    }
    ControlFlow::Break(Reconciliation::Stopped)
}
