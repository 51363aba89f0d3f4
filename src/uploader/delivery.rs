//! Delivery of one batch, in as many parts as necessary.

use super::{
    Size,
    attempt::send,
    circuit_breaker::Failure,
    context::{Context, pages},
    deferred::DeferredBatch,
    key_guard::{HeldKeys, KeyGuardEntry},
    outcome::{AttemptResult, Rejected, TokenOutcome},
    size_limit::Excess,
};
use crate::{
    domain::{Batch, Call, EventKind, Reason, StopReason},
    ledger::LedgerError,
};

/// Remaining work of a batch.
enum Part {
    ToSend(Batch),
    /// A part that was rejected without naming a token. Its halves lie above it on the stack and are sent
    /// first.
    Halved {
        size: Size,
        unstored_before: usize,
    },
}

/// A batch that is being delivered.
struct Delivery<'a> {
    context: &'a Context,
    call: Call,
    /// Remaining work; the next part is last.
    stack: Vec<Part>,
    /// Parts that are exhausted or unresolved. The caller defers or fails them.
    deferred: Vec<DeferredBatch>,
    /// Number of parts that are not fully stored.
    unstored: usize,
    any_commit: bool,
    last_failure: Option<Failure>,
}

/// Sends a batch until every token has an outcome or is in a returned part. The caller defers or fails these
/// parts.
pub(super) async fn deliver(context: &Context, batch: Batch) -> Result<Vec<DeferredBatch>, LedgerError> {
    let _keys = match claim(context, &batch).await {
        Ok(keys) => keys,
        Err(HeldKeys::Deferred) => return Ok(vec![DeferredBatch::Blocked(batch)]),
        Err(HeldKeys::Unresolved) => {
            fail_as_conflicting(context, &batch).await?;
            return Ok(Vec::new());
        }
        // The claim waits for batches in flight, so this happens only if the run was stopped.
        Err(HeldKeys::InFlight) => return Ok(Vec::new()),
    };
    let mut delivery = Delivery {
        context,
        call: batch.call,
        stack: vec![Part::ToSend(batch)],
        deferred: Vec::new(),
        unstored: 0,
        any_commit: false,
        last_failure: None,
    };
    match delivery.run().await {
        Ok(()) => Ok(delivery.deferred),
        Err(error) => {
            // The ledger cannot be written, and the run ends. Until then no token may leave that could be
            // mistaken for one of an unresolved part.
            for deferred in delivery.deferred {
                if let DeferredBatch::Unresolved(_, keys) = deferred {
                    context.hold_keys(keys);
                }
            }
            Err(error)
        }
    }
}

impl Delivery<'_> {
    async fn run(&mut self) -> Result<(), LedgerError> {
        let context = self.context;
        while let Some(part) = self.stack.pop() {
            let batch = match part {
                Part::ToSend(batch) => batch,
                Part::Halved {
                    size,
                    unstored_before,
                } => {
                    // All its parts are stored, so it was rejected for its size, even if the API gave another
                    // reason.
                    if self.unstored == unstored_before {
                        learn(context, size, Excess::Tokens);
                    }
                    continue;
                }
            };
            // The size limit may have changed since the batch was made.
            let (batch, rest) = context.size_limit.cut(batch);
            self.stack.extend(rest.map(Part::ToSend));
            let size = Size::of(&batch);
            match send(context, batch).await? {
                AttemptResult::Committed(batch) => self.committed(&batch, size),
                AttemptResult::Rejected(rejected) => self.rejected(rejected, size),
                AttemptResult::Exhausted { batch, reason } => {
                    self.unstored += 1;
                    context.control.meter.batch(false);
                    self.last_failure = Some(Failure::batch(&reason.text));
                    self.deferred.push(DeferredBatch::Exhausted(batch, reason));
                }
                AttemptResult::Unresolved(unresolved) => {
                    self.unstored += 1;
                    self.last_failure = Some(Failure::batch("their outcome is unknown"));
                    let keys = context.key_guard.defer(&unresolved.batch);
                    self.deferred.push(DeferredBatch::Unresolved(unresolved, keys));
                }
                AttemptResult::Stopped => return Ok(()),
            }
        }
        if let Some(failure) = self.last_failure.take().filter(|_| !self.any_commit)
            && let Some(text) = context.circuit_breaker.record_failure(&failure)
        {
            context.stop().trigger(StopReason::TooManyFailures(text));
        }
        Ok(())
    }

    fn committed(&mut self, batch: &Batch, size: Size) {
        let context = self.context;
        self.any_commit = true;
        if self.call == Call::Batch {
            context.size_limit.record_success(size);
        }
        context.circuit_breaker.record_success();
        context.control.meter.batch(true);
        context.report(&pages(batch), &TokenOutcome::Committed);
    }

    fn rejected(&mut self, rejected: Rejected, size: Size) {
        let Rejected {
            failed,
            again,
            reason,
            is_too_large,
        } = rejected;
        let context = self.context;
        context.control.meter.batch(false);
        self.last_failure = Some(match self.call {
            Call::Batch => Failure::batch("the API rejected every token"),
            Call::Single => Failure::Token(reason.text),
        });
        match (failed.is_empty(), is_too_large) {
            (true, true) => learn(context, size, Excess::Bytes),
            // Its halves show whether the size was the reason.
            (true, false) => self.stack.push(Part::Halved {
                size,
                unstored_before: self.unstored,
            }),
            (false, _) => self.unstored += 1,
        }
        for same in failed.chunk_by(|(_, one), (_, next)| one.code == next.code) {
            let pages: Vec<u64> = same.iter().map(|(page, _)| *page).collect();
            context.report(&pages, &TokenOutcome::Failed(same[0].1.clone()));
        }
        self.stack.extend(again.into_iter().map(Part::ToSend));
    }
}

/// Lowers the size limit after a rejection for size, and records the event.
fn learn(context: &Context, size: Size, probably: Excess) {
    if context.size_limit.record_rejection(size, probably) {
        let now = context.size_limit.get();
        let detail = format!(
            "at most {} tokens and {} bytes per batch from now on",
            now.tokens, now.bytes
        );
        context
            .ledger
            .event_log()
            .record(EventKind::SizeLowered, Some(detail));
    }
}

/// Claims the keys of a batch. Waits while a batch in flight holds one of them, unless the run is stopped.
async fn claim(context: &Context, batch: &Batch) -> Result<KeyGuardEntry, HeldKeys> {
    let key_guard = &context.key_guard;
    loop {
        let mut released = std::pin::pin!(key_guard.released());
        released.as_mut().enable();
        match key_guard.claim(batch) {
            Err(HeldKeys::InFlight) if context.stop().run_until_stopped(released).await.is_some() => {}
            claimed => return claimed,
        }
    }
}

/// Records the tokens of a batch as failed because a batch that stays unresolved holds one of its keys.
async fn fail_as_conflicting(context: &Context, batch: &Batch) -> Result<(), LedgerError> {
    let text = "not sent: it is unknown whether another token of the same user, or of a user in its batch, is stored; the \
                next run reads that token back, then sends this one";
    let reason = Reason::transport("outcome_unknown", text);
    context.fail_tokens(batch, &reason).await
}
