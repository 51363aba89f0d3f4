//! Delivery of one batch, in as many parts as it takes.

use super::{
    Size,
    attempt::Sent,
    circuit_breaker::Failure,
    context::{Pass, TokenOutcome, Uploader, pages},
    deferred::DeferredBatches,
    key_guard::{HeldKeys, KeyGuardEntry},
    size_limit::Excess,
};
use crate::{
    domain::{Batch, Call, EventKind, StopReason},
    ledger::LedgerError,
};

/// What is left to be done of a batch.
enum Part {
    ToSend(Batch),
    /// It was refused, and no token was named. What was made of it comes before this.
    Refused {
        size: Size,
        unstored_before: usize,
    },
}

impl Uploader {
    pub(super) async fn deliver_inner(&self, batch: Batch, pass: Pass) -> Result<(), LedgerError> {
        let _claim = match self.claim(&batch).await {
            Ok(claim) => claim,
            // It waits for its turn behind the one that is in its way.
            Err(HeldKeys::Parked) => {
                self.defer(DeferredBatches::Unsent(batch));
                return Ok(());
            }
            Err(HeldKeys::InDoubt) => return self.fail_as_conflicting(&batch).await,
            // Only where the run was stopped first.
            Err(HeldKeys::InFlight) => return Ok(()),
        };
        let call = batch.call;
        let mut any_commit = false;
        let mut last_failure = None;
        // How many parts were not stored, or not all of them.
        let mut unstored = 0;
        let mut stack = vec![Part::ToSend(batch)];
        while let Some(part) = stack.pop() {
            let batch = match part {
                Part::ToSend(batch) => batch,
                Part::Refused {
                    size,
                    unstored_before,
                } => {
                    // All of its parts are stored: it was refused for its size, whatever the API said.
                    if unstored == unstored_before {
                        self.learn(size, Excess::Tokens);
                    }
                    continue;
                }
            };
            // Sizes may have been learnt since it was made.
            let (batch, rest) = self.size_limit().cut(batch);
            stack.extend(rest.map(Part::ToSend));
            let size = Size::of(&batch);
            match self.send(batch).await? {
                Sent::Committed(batch) => {
                    any_commit = true;
                    if call == Call::Batch {
                        self.size_limit().stored(size);
                    }
                    self.circuit_breaker().end();
                    self.meter().batch(true);
                    self.settled(&pages(&batch), &TokenOutcome::Committed);
                }
                Sent::Refused {
                    failed,
                    reason,
                    again,
                    is_too_large,
                } => {
                    self.meter().batch(false);
                    last_failure = Some(match call {
                        Call::Batch => Failure::batch("the API refused every token of them"),
                        Call::Single => Failure::Token(reason.text.clone()),
                    });
                    match (failed.is_empty(), is_too_large) {
                        (true, true) => self.learn(size, Excess::Bytes),
                        // Its parts will tell.
                        (true, false) => stack.push(Part::Refused {
                            size,
                            unstored_before: unstored,
                        }),
                        (false, _) => unstored += 1,
                    }
                    for same in failed.chunk_by(|(_, one), (_, next)| one.code == next.code) {
                        let pages: Vec<u64> = same.iter().map(|(page, _)| *page).collect();
                        self.settled(&pages, &TokenOutcome::Failed(same[0].1.clone()));
                    }
                    stack.extend(again.into_iter().map(Part::ToSend));
                }
                Sent::Exhausted { batch, reason } => {
                    unstored += 1;
                    self.meter().batch(false);
                    last_failure = Some(Failure::batch(&reason.text));
                    if pass == Pass::Final {
                        self.give_up(&batch, &reason).await?;
                    } else {
                        self.defer(DeferredBatches::Unsent(batch));
                    }
                }
                Sent::Unknown(unresolved) => {
                    unstored += 1;
                    last_failure = Some(Failure::batch("the API does not tell what became of them"));
                    let claim = self.key_guard().defer(&unresolved.batch);
                    if pass == Pass::Final {
                        self.leave_unresolved(&unresolved, claim).await?;
                    } else {
                        self.defer(DeferredBatches::Unknown { unresolved, claim });
                    }
                }
                Sent::Stopped => return Ok(()),
            }
        }
        if let Some(failure) = last_failure.filter(|_| !any_commit)
            && let Some(text) = self.circuit_breaker().failed(&failure)
        {
            self.stop().trigger(StopReason::TooManyFailures(text));
        }
        Ok(())
    }

    /// A batch of this size was refused for it.
    fn learn(&self, size: Size, probably: Excess) {
        if self.size_limit().refused(size, probably) {
            let now = self.size_limit().get();
            let detail = format!(
                "{} tokens and {} bytes at most from here on",
                now.tokens, now.bytes
            );
            self.ledger()
                .event_log()
                .record(EventKind::SizeLowered, Some(detail));
        }
    }

    /// Claims the places of a batch. Waits while one in flight is in its way, unless the run is stopped.
    async fn claim(&self, batch: &Batch) -> Result<KeyGuardEntry, HeldKeys> {
        let key_guard = self.key_guard();
        loop {
            let mut released = std::pin::pin!(key_guard.released());
            released.as_mut().enable();
            match key_guard.claim(batch) {
                Err(HeldKeys::InFlight) if self.stop().run_until_stopped(released).await.is_some() => {}
                claimed => return claimed,
            }
        }
    }
}
