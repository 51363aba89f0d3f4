//! Reconciles a batch whose answer was lost: witnesses are read back, and speak for all of it.
//!
//! A batch is stored as a whole or not at all. So one token that shows what cannot have been there before proves that all of
//! the batch is stored; and one that shows something else, or is absent, that nothing of it is, once the request can no longer
//! be under way. What no witness tells is never concluded.

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::context::Uploader;
use crate::{
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
    pub(super) on_odd_answers: OnInconclusive,
}

/// What is done where the API gives no answers about tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnInconclusive {
    /// They are asked again once the request can no longer be under way.
    WaitOut,
    /// The upload's answer was as odd: the API need not be there at all, and a later process asks again.
    GiveUp,
}

/// So many witnesses are asked where the first ones do not tell.
pub(super) const MOST_WITNESSES: usize = 3;

/// Of so many witnesses, "not stored" is believed: one by itself may have been deleted meanwhile.
const ENOUGH_DENIALS: usize = 2;

/// What one round of questions came to.
enum Round {
    Stored,
    NotStored,
    Nothing,
    Unknown,
    Stopped,
}

/// What one witness says.
enum Said {
    Testimony(ReadBackVerdict),
    /// However often it is asked, the answer is not about the token.
    Odd(Refusal),
    Unknown,
    Stopped,
}

impl Uploader {
    /// Asks until there is an answer. "Not stored" is concluded only from what was asked after `settled_at`.
    pub(super) async fn reconcile(&self, question: Question<'_>) -> Reconciliation {
        let mut attempts = self.attempts().through_pauses();
        loop {
            let is_final = Instant::now() >= question.settled_at;
            match self.ask_witnesses(question, is_final, &mut attempts).await {
                Round::Stored => return Reconciliation::Stored,
                Round::NotStored if is_final => return Reconciliation::NotStored,
                Round::Nothing if is_final => return Reconciliation::NoProof,
                Round::NotStored | Round::Nothing => {
                    debug!("not seen yet: asking again once no request can be under way any more");
                    let settled = sleep_until(question.settled_at);
                    if self.stop().run_until_stopped(settled).await.is_none() {
                        return Reconciliation::Stopped;
                    }
                }
                Round::Unknown => {
                    warn!(
                        "outcome unknown: the API does not tell, and the batch stays in flight in the ledger"
                    );
                    return Reconciliation::Unknown;
                }
                Round::Stopped => return Reconciliation::Stopped,
            }
        }
    }

    async fn ask_witnesses(
        &self,
        question: Question<'_>,
        is_final: bool,
        attempts: &mut RetryLoop<'_>,
    ) -> Round {
        let mut denials = 0;
        let mut odd = None;
        for witness in self.readable(question.witnesses).take(MOST_WITNESSES) {
            match self.ask_witness(witness, question.submitted_at, attempts).await {
                Said::Testimony(ReadBackVerdict::Stored) => return Round::Stored,
                Said::Testimony(ReadBackVerdict::NotStored) => {
                    denials += 1;
                    // Before the end one is enough to wait for it.
                    if denials == ENOUGH_DENIALS || !is_final {
                        return Round::NotStored;
                    }
                }
                Said::Testimony(ReadBackVerdict::Nothing) => {
                    debug!("another token of the same user, or nothing that would tell, was shown");
                }
                Said::Odd(refusal) => odd = Some(refusal),
                Said::Unknown => return Round::Unknown,
                Said::Stopped => return Round::Stopped,
            }
        }
        if denials > 0 {
            return Round::NotStored;
        }
        if question.on_odd_answers == OnInconclusive::GiveUp {
            return Round::Unknown;
        }
        if let Some(refusal) = odd {
            self.warn_read_back_denied_once(&refusal);
        }
        Round::Nothing
    }

    /// Those of the witnesses whose reading back changes nothing at the API.
    fn readable<'a>(&self, witnesses: &'a [Witness]) -> impl Iterator<Item = &'a Witness> + use<'a> {
        let reads_expired = self.reads_expired();
        let until = chrono::Utc::now()
            .timestamp()
            .saturating_add(self.refresh_margin_seconds());
        witnesses
            .iter()
            .filter(move |witness| reads_expired || witness.lives_until(until))
    }

    async fn ask_witness(&self, witness: &Witness, submitted_at: i64, attempts: &mut RetryLoop<'_>) -> Said {
        let mut was_odd = false;
        loop {
            if attempts.next().await.is_none() {
                return Said::Stopped;
            }
            let pays = async || self.attempts().through_pauses().next().await.is_some();
            let wait = match self.client().latest(&witness.probe, pays).await {
                LookupOutcome::Found(stored) => {
                    return Said::Testimony(stored.verdict(witness, self.key(), submitted_at));
                }
                LookupOutcome::Absent => return Said::Testimony(ReadBackVerdict::NotStored),
                LookupOutcome::Credentials(refusal) if refusal.status == Some(401) => {
                    // The batch stays in flight: it is asked for when there are credentials that are accepted.
                    self.stop().trigger(StopReason::Credentials(format!(
                        "{}: {}",
                        refusal.code, refusal.text
                    )));
                    return Said::Stopped;
                }
                // A page of some gateway, or a refusal of this one question: no word about the token.
                LookupOutcome::Credentials(refusal)
                | LookupOutcome::Refused(refusal)
                | LookupOutcome::Endpoint(refusal) => {
                    if was_odd {
                        return Said::Odd(refusal);
                    }
                    was_odd = true;
                    attempts.delay()
                }
                LookupOutcome::RateLimited { retry_after } => {
                    // The next attempt waits, or finds the run stopped.
                    self.rate_limited(attempts, retry_after).await;
                    continue;
                }
                LookupOutcome::TryAgain { refusal, .. } => {
                    debug!(code = %refusal.code, "reading back gave no usable answer");
                    attempts.delay()
                }
            };
            if !attempts.again(wait).await {
                return Said::Unknown;
            }
        }
    }
}
