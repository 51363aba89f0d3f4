//! Batches that no attempt got through, or whose outcome nobody tells: they are put aside, and get one more chance at the
//! end of the run.

use std::{
    collections::VecDeque,
    sync::{MutexGuard, PoisonError},
};

use tracing::{Instrument, error_span, info};

use super::{
    Reconciliation,
    attempt::Unresolved,
    context::{Pass, TokenOutcome, Uploader, pages},
    key_guard::KeyGuardEntry,
    reconcile::OnInconclusive,
};
use crate::{
    domain::{Batch, Decision, Reason, Unsent},
    ledger::{LedgerError, RemainingTokens, Rows},
};

/// A batch that was put aside.
pub(super) enum DeferredBatches {
    /// Nothing of it is stored.
    Unsent(Batch),
    /// It is in flight in the ledger.
    Unknown {
        unresolved: Unresolved,
        claim: KeyGuardEntry,
    },
}

impl Uploader {
    /// Gives the batches that were put aside their last chance; after it, they fail. Only when nothing else is in flight.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn deliver_deferred(&self) -> Result<(), LedgerError> {
        while let Some(deferred) = self.next_parked() {
            if self.stop().is_triggered() {
                break;
            }
            self.last_chance(deferred).await?;
        }
        Ok(())
    }

    /// If too many batches wait for the end of the run, the oldest gets its last chance now, so that memory stays bounded.
    /// Only for whoever holds no claim: the overdue batch may have to wait for that very claim.
    pub(super) async fn deliver_overdue(&self) -> Result<(), LedgerError> {
        let overdue = {
            let mut waiting = self.deferred();
            if waiting.len() > self.max_deferred() {
                waiting.pop_front()
            } else {
                None
            }
        };
        match overdue {
            Some(overdue) => self.last_chance(overdue).await,
            None => Ok(()),
        }
    }

    /// Puts a batch aside for the end of the run.
    pub(super) fn defer(&self, mut deferred: DeferredBatches) {
        let batch = match &mut deferred {
            DeferredBatches::Unsent(batch) => batch,
            DeferredBatches::Unknown { unresolved, .. } => &mut unresolved.batch,
        };
        // It waits long, and the pages it was made of need not.
        for item in &mut batch.items {
            item.encoded.detach();
        }
        self.deferred().push_back(deferred);
    }

    /// Whether batches wait for their last chance.
    #[must_use]
    pub fn has_deferred(&self) -> bool {
        !self.deferred().is_empty()
    }

    async fn last_chance(&self, deferred: DeferredBatches) -> Result<(), LedgerError> {
        let unsent = match deferred {
            DeferredBatches::Unsent(batch) => Some(batch),
            DeferredBatches::Unknown { unresolved, claim } => {
                let tokens = unresolved.batch.items.len();
                let span = error_span!("batch", batch_id = unresolved.intent.batch.id, tokens);
                self.resolve_once_more(unresolved, claim).instrument(span).await?
            }
        };
        match unsent {
            Some(batch) => self.deliver_inner(batch, Pass::Final).await,
            None => Ok(()),
        }
    }

    /// Asks once more what became of a batch; gives it back if it is to be sent again.
    async fn resolve_once_more(
        &self,
        unresolved: Unresolved,
        claim: KeyGuardEntry,
    ) -> Result<Option<Batch>, LedgerError> {
        let reconciliation = self.resolve(&unresolved, OnInconclusive::WaitOut).await;
        info!(outcome = ?reconciliation, "reconciled unknown outcome");
        let mut outcome = unresolved.intent.outcome(None);
        match reconciliation {
            Reconciliation::Stored => {
                self.ledger()
                    .commit_batch(&outcome, Rows::of(&unresolved.batch))
                    .await?;
                self.meter().batch(true);
                self.settled(&pages(&unresolved.batch), &TokenOutcome::Committed);
                Ok(None)
            }
            Reconciliation::NotStored | Reconciliation::NoProof => {
                let text = if reconciliation == Reconciliation::NoProof {
                    outcome.residue = RemainingTokens::Possible;
                    "no answer came, and nothing tells whether it is stored: its tokens are sent again"
                } else {
                    "no answer came, and nothing of it was stored"
                };
                let reason = Reason::transport("not_stored", text);
                self.ledger().fail_batch(&outcome, &reason, &[]).await?;
                self.meter().batch(false);
                Ok(Some(unresolved.batch))
            }
            Reconciliation::Unknown => {
                self.leave_unresolved(&unresolved, claim).await?;
                Ok(None)
            }
            Reconciliation::Stopped => Ok(None),
        }
    }

    /// Lists the tokens of a batch as failed that neither a commit nor a refusal settled.
    pub(super) async fn give_up(&self, batch: &Batch, reason: &Reason) -> Result<(), LedgerError> {
        let decisions: Vec<Decision> = batch
            .items
            .iter()
            .map(|item| Decision {
                key: item.key.clone(),
                destination: Some(item.destination.clone()),
                app: None,
                version: item.version,
                end: Unsent::Failed(reason.clone()),
            })
            .collect();
        self.ledger().record_outcomes(self.run(), &decisions).await?;
        self.settled(&pages(batch), &TokenOutcome::Failed(reason.clone()));
        Ok(())
    }

    /// Nobody tells what became of it. Its tokens are listed as failed, and the batch stays in flight, so that the next
    /// run asks before it sends any of them. This run sends nothing that could be mistaken for them.
    pub(super) async fn leave_unresolved(
        &self,
        unresolved: &Unresolved,
        claim: KeyGuardEntry,
    ) -> Result<(), LedgerError> {
        self.keep_claim(claim);
        let text = format!(
            "it is unknown whether the API stored it (batch {}): the next run asks again before it sends anything",
            unresolved.intent.batch.id
        );
        self.give_up(&unresolved.batch, &Reason::transport("outcome_unknown", text))
            .await
    }

    /// Another token of one of its users is in a batch of which nobody tells what became.
    pub(super) async fn fail_as_conflicting(&self, batch: &Batch) -> Result<(), LedgerError> {
        let text = "not sent, as it is unknown whether another token of the same user, or of one in its batch, is stored: the next \
                    run asks for that one, then sends this one";
        self.give_up(batch, &Reason::transport("outcome_unknown", text))
            .await
    }

    fn next_parked(&self) -> Option<DeferredBatches> {
        self.deferred().pop_front()
    }

    fn deferred(&self) -> MutexGuard<'_, VecDeque<DeferredBatches>> {
        // A panic elsewhere leaves the list as it was.
        self.deferring().lock().unwrap_or_else(PoisonError::into_inner)
    }
}
