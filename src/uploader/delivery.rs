//! Delivery of one batch, in as many parts as necessary.

use tracing::{info, warn};

use super::{
    attempt::send,
    bisect,
    circuit_breaker::Failure,
    context::{Context, pages},
    deferred::DeferredBatch,
    key_guard::{HeldKeys, KeyGuardEntry},
    outcome::{AttemptResult, Cause, Rejected, TokenOutcome},
    size_limit::{Admitted, size_of},
    size_search::RejectionId,
    truncation, witnesses,
};
use crate::{
    domain::{Batch, BatchSize, Call, EventKind, Reason, StopReason, Subject},
    ledger::LedgerError,
};

/// Remaining work of a batch.
enum Part {
    ToSend(Batch),
    /// A part that was rejected without naming a token. Its parts lie above it on the stack and are sent
    /// first.
    Rejected(RejectedPart),
}

/// A part that was rejected without naming a token.
struct RejectedPart {
    size: BatchSize,
    /// The rejection, if its size may have been the reason.
    rejection: Option<RejectionId>,
    /// The counts of the delivery before its parts were sent.
    unstored_before: usize,
    commits_before: usize,
}

/// A batch that is being delivered.
struct Delivery<'a> {
    context: &'a Context,
    subject: Subject,
    call: Call,
    /// Remaining work; the next part is last.
    stack: Vec<Part>,
    /// Parts that are exhausted or unresolved. The caller defers or fails them.
    deferred: Vec<DeferredBatch>,
    /// Number of parts that are not fully stored.
    unstored: usize,
    /// Number of parts that are stored.
    commits: usize,
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
        subject: batch.subject,
        call: batch.call,
        stack: vec![Part::ToSend(batch)],
        deferred: Vec::new(),
        unstored: 0,
        commits: 0,
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
                Part::Rejected(part) => {
                    self.conclude(&part);
                    self.remember_sizes().await;
                    continue;
                }
            };
            // The size limit may have changed since the batch was made.
            let admitting = context.size_limit.admit(batch);
            let Some(admitted) = context.stop().run_until_stopped(admitting).await else {
                return Ok(());
            };
            let Admitted {
                batch,
                rest,
                mut trial,
            } = admitted;
            self.stack.extend(rest.map(Part::ToSend));
            let batch = self.make_provable(batch);
            let size = size_of(&batch);
            match send(context, batch, &mut trial).await? {
                AttemptResult::Committed { batch, is_clean } => {
                    self.committed(&batch);
                    if self.call == Call::Batch {
                        self.accept(size, is_clean);
                    }
                }
                AttemptResult::Truncated {
                    stored,
                    rest,
                    missing_from,
                } => {
                    if let Some(position) = missing_from {
                        truncation::learn(context, &stored, position);
                        self.announce_smaller();
                    }
                    self.committed(&stored);
                    self.stack.push(Part::ToSend(rest));
                }
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
            drop(trial);
            self.remember_sizes().await;
        }
        if let Some(failure) = self.last_failure.take().filter(|_| self.commits == 0)
            && let Some(text) = context.circuit_breaker.record_failure(&failure)
        {
            context.stop().trigger(StopReason::TooManyFailures(text));
        }
        Ok(())
    }

    /// Cuts a batch that is larger than any of which the API is known to store all, unless its last token can
    /// be read back.
    fn make_provable(&mut self, mut batch: Batch) -> Batch {
        let context = self.context;
        if !context.size_limit.needs_proof(&batch)
            || witnesses::move_to_end(&mut batch, context.readable_until())
        {
            return batch;
        }
        let (batch, rest) = context.size_limit.cut_to_whole(batch);
        self.stack.extend(rest.map(Part::ToSend));
        batch
    }

    fn committed(&mut self, batch: &Batch) {
        let context = self.context;
        self.commits += 1;
        context.circuit_breaker.record_success();
        context.control.meter.batch(true);
        context.report(&pages(batch), &TokenOutcome::Committed);
    }

    /// Learns from the size of a batch that was stored.
    fn accept(&self, size: BatchSize, is_clean: bool) {
        let limit = &self.context.size_limit;
        if limit.search(self.subject, |search| search.accept(size, is_clean)) {
            let now = limit.get(self.subject);
            info!(
                subject = self.subject.as_str(),
                max_tokens = now.tokens,
                "the API stores these batches quickly, sending larger ones"
            );
        }
    }

    fn rejected(&mut self, rejected: Rejected, size: BatchSize) {
        let Rejected {
            failed,
            again,
            reason,
            cause,
        } = rejected;
        let context = self.context;
        context.control.meter.batch(false);
        self.last_failure = Some(match self.call {
            Call::Batch => Failure::batch("the API rejected every token"),
            Call::Single => Failure::Token(reason.text),
        });
        let is_culprit = cause != Cause::Tokens && again.is_none();
        if !failed.is_empty() {
            self.unstored += 1;
        }
        for same in failed.chunk_by(|(_, one), (_, next)| one.code == next.code) {
            let pages: Vec<u64> = same.iter().map(|(page, _)| *page).collect();
            context.report(&pages, &TokenOutcome::Failed(same[0].1.clone()));
        }
        if is_culprit {
            self.withdraw_rejections();
        }
        match again {
            Some(batch) if failed.is_empty() => self.send_in_parts(batch, size, cause),
            again => self.stack.extend(again.map(Part::ToSend)),
        }
    }

    /// Sends a batch again that was rejected without naming a token: cut to a smaller limit if its size may
    /// have been the reason, otherwise in halves.
    fn send_in_parts(&mut self, batch: Batch, size: BatchSize, cause: Cause) {
        let limit = &self.context.size_limit;
        let is_size = match cause {
            Cause::TooLarge => true,
            Cause::Unnamed => !limit.search(self.subject, |search| search.is_proven(size)),
            Cause::Tokens => false,
        };
        let rejection = is_size.then(|| limit.search(self.subject, |search| search.reject(size)));
        // Cut anew together with what was cut off before: each cut leaves a small batch at the end.
        let batch = if is_size { self.merge(batch) } else { batch };
        self.stack.push(Part::Rejected(RejectedPart {
            size,
            rejection,
            unstored_before: self.unstored,
            commits_before: self.commits,
        }));
        if is_size {
            self.stack.push(Part::ToSend(batch));
        } else {
            let [first, second] = bisect::halve(batch);
            self.stack.extend([second, first].map(Part::ToSend));
        }
    }

    /// Appends the next parts that wait to be sent to a batch.
    fn merge(&mut self, mut batch: Batch) -> Batch {
        while let Some(Part::ToSend(_)) = self.stack.last()
            && let Some(Part::ToSend(next)) = self.stack.pop()
        {
            batch.items.extend(next.items);
            // Its tokens have this rejected batch in common.
            batch.parent = next.parent.or(batch.parent);
        }
        batch
    }

    /// Draws the conclusion from a rejected part once all its parts were sent.
    fn conclude(&self, part: &RejectedPart) {
        let limit = &self.context.size_limit;
        let is_size = match part.rejection {
            Some(id) if self.commits > part.commits_before => {
                limit.search(self.subject, |search| search.confirm(id))
            }
            // Nothing of it was stored, which has another reason.
            Some(id) => {
                limit.search(self.subject, |search| search.withdraw(id));
                false
            }
            // All its parts are stored, so it was rejected for its size, although that was stored before.
            None if self.unstored == part.unstored_before => limit.search(self.subject, |search| {
                let id = search.reject(part.size);
                search.confirm(id)
            }),
            None => false,
        };
        if is_size {
            self.announce_smaller();
        }
    }

    /// A token was rejected by itself: that explains why the parts with it were rejected.
    fn withdraw_rejections(&self) {
        let ids = self.stack.iter().filter_map(|part| match part {
            Part::Rejected(part) => part.rejection,
            Part::ToSend(_) => None,
        });
        self.context.size_limit.search(self.subject, |search| {
            for id in ids {
                search.withdraw(id);
            }
        });
    }

    /// Tells that batches are smaller from now on.
    fn announce_smaller(&self) {
        let now = self.context.size_limit.get(self.subject);
        warn!(
            subject = self.subject.as_str(),
            max_tokens = now.tokens,
            max_bytes = now.bytes,
            "the API does not accept batches of this size, sending smaller ones from now on"
        );
        let detail = format!(
            "at most {} tokens and {} bytes per batch of {} tokens from now on",
            now.tokens,
            now.bytes,
            self.subject.as_str()
        );
        self.context
            .ledger
            .event_log()
            .record(EventKind::SizeLowered, Some(detail));
    }

    /// Stores what was learned for later runs. Without it, they learn it again.
    async fn remember_sizes(&self) {
        let Context {
            size_limit, ledger, ..
        } = self.context;
        let save = async |learned| ledger.remember_sizes(self.subject, &learned).await;
        if let Err(failure) = size_limit.save_news(self.subject, save).await {
            warn!(reason = %failure, "the batch sizes that the API accepts could not be recorded; the next run learns them again");
        }
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
