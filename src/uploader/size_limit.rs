//! Size limit of batches, learned from batches that were stored and batches that were rejected for their
//! size.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::{descope::BODY_OVERHEAD, domain::Batch};

/// The size of a batch, or a limit for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of tokens.
    pub tokens: usize,
    /// Bytes of the request's body.
    pub bytes: usize,
}

impl Size {
    /// Returns the size of a batch that is about to be sent.
    pub(super) fn of(batch: &Batch) -> Self {
        let tokens = batch.items.len();
        let encoded: usize = batch.items.iter().map(|item| item.encoded.len()).sum();
        Self {
            tokens,
            bytes: BODY_OVERHEAD + encoded + tokens.saturating_sub(1),
        }
    }
}

/// The dimension in which a batch was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Tokens,
    Bytes,
}

/// The allowed size of the batches of a run. Clones share it.
#[derive(Debug, Clone)]
pub struct SizeLimit(Arc<Mutex<Learned>>);

#[derive(Debug)]
struct Learned {
    tokens: Bounds,
    bytes: Bounds,
}

/// The limit in one dimension. It is found by halving the distance between the largest size that was stored
/// and the smallest that was rejected.
#[derive(Debug)]
struct Bounds {
    configured: usize,
    /// The largest size that was stored.
    stored: usize,
    /// The smallest size that was rejected in this dimension.
    refused: Option<usize>,
    /// The search ends at a distance of `1 + stored / part`.
    part: usize,
}

impl Bounds {
    fn new(configured: usize, part: usize) -> Self {
        Self {
            configured,
            stored: 0,
            refused: None,
            part,
        }
    }

    fn get(&self) -> usize {
        let Some(refused) = self.refused else {
            return self.configured;
        };
        let distance = refused.saturating_sub(self.stored);
        if distance <= 1 + self.stored / self.part {
            self.stored.max(1)
        } else {
            (self.stored + distance / 2).max(1)
        }
    }

    fn stored(&mut self, size: usize) {
        self.stored = self.stored.max(size);
        // A rejection at or below a stored size had another reason.
        self.refused = self.refused.filter(|&refused| refused > self.stored);
    }

    fn refused(&mut self, size: usize) {
        self.refused = Some(self.refused.map_or(size, |least| least.min(size)));
        self.stored = self.stored.min(size.saturating_sub(1));
    }
}

impl SizeLimit {
    /// Returns a limit that starts with the configured size.
    #[must_use]
    pub fn new(configured: Size) -> Self {
        Self(Arc::new(Mutex::new(Learned {
            // Tokens are found exactly, bytes to within a sixteenth.
            tokens: Bounds::new(configured.tokens, usize::MAX),
            bytes: Bounds::new(configured.bytes, 16),
        })))
    }

    /// Returns the current limit.
    #[must_use]
    pub fn get(&self) -> Size {
        let learned = self.lock();
        Size {
            tokens: learned.tokens.get(),
            bytes: learned.bytes.get(),
        }
    }

    /// Learns from a batch that was stored.
    pub(super) fn record_success(&self, size: Size) {
        let mut learned = self.lock();
        learned.tokens.stored(size.tokens);
        learned.bytes.stored(size.bytes);
    }

    /// Learns from a batch that was rejected for its size. Earlier stored sizes show which dimension was too
    /// large; if they do not, it is `probably`. Returns true if the limit is lower than before.
    pub(super) fn record_rejection(&self, size: Size, probably: Excess) -> bool {
        let before = self.get();
        {
            let mut learned = self.lock();
            let stored_as_many = size.tokens <= learned.tokens.stored;
            let stored_as_large = size.bytes <= learned.bytes.stored;
            let excess = match (stored_as_many, stored_as_large) {
                (true, false) => Excess::Bytes,
                (false, true) => Excess::Tokens,
                _ => probably,
            };
            match excess {
                Excess::Tokens => learned.tokens.refused(size.tokens),
                Excess::Bytes => learned.bytes.refused(size.bytes),
            }
        }
        let now = self.get();
        let is_lower = now.tokens < before.tokens || now.bytes < before.bytes;
        if is_lower {
            warn!(
                max_tokens = now.tokens,
                max_bytes = now.bytes,
                "the API rejected a batch for its size, sending smaller batches from now on"
            );
        }
        is_lower
    }

    /// Returns the part of a batch that may be sent at once, and the rest. A token that exceeds the limit is
    /// sent alone, because only the API knows whether it is too large.
    pub(super) fn cut(&self, mut batch: Batch) -> (Batch, Option<Batch>) {
        let most = self.get();
        let mut bytes = BODY_OVERHEAD;
        let fitting = batch.items.iter().take(most.tokens).take_while(|item| {
            bytes += item.encoded.len() + 1;
            // The first token has no comma before it.
            bytes - 1 <= most.bytes
        });
        let count = fitting.count().max(1);
        if count >= batch.items.len() {
            return (batch, None);
        }
        let rest = Batch {
            subject: batch.subject,
            call: batch.call,
            items: batch.items.split_off(count),
            parent: batch.parent,
        };
        (batch, Some(rest))
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Call, Destination, Item, Subject};

    fn limit() -> SizeLimit {
        SizeLimit::new(Size {
            tokens: 100,
            bytes: 10_000,
        })
    }

    fn size(tokens: usize, bytes: usize) -> Size {
        Size { tokens, bytes }
    }

    /// Sends the largest allowed batches to an API with these limits. Returns the number of rejections.
    fn refusals(limit: &SizeLimit, tokens: usize, bytes: usize, bytes_each: usize) -> usize {
        let mut refused = 0;
        for _ in 0..40 {
            let now = limit.get();
            let count = now.tokens.min(now.bytes / bytes_each).max(1);
            let sent = size(count, count * bytes_each);
            if sent.tokens > tokens || sent.bytes > bytes {
                refused += 1;
                let half = size(count / 2, count / 2 * bytes_each);
                let excess = if sent.bytes > bytes {
                    Excess::Bytes
                } else {
                    Excess::Tokens
                };
                limit.record_rejection(sent, excess);
                if half.tokens <= tokens && half.bytes <= bytes {
                    limit.record_success(half);
                }
            } else {
                limit.record_success(sent);
            }
        }
        refused
    }

    #[test]
    fn a_limit_of_tokens_is_found_exactly_and_leaves_that_of_bytes_alone() {
        let limit = limit();
        assert!(refusals(&limit, 10, usize::MAX, 50) <= 8);
        assert_eq!(limit.get(), size(10, 10_000));
    }

    #[test]
    fn a_limit_of_bytes_is_approached_and_leaves_that_of_tokens_alone() {
        let limit = limit();
        assert!(refusals(&limit, usize::MAX, 4000, 90) <= 5);
        let found = limit.get();
        assert_eq!(found.tokens, 100);
        assert!((3600..=4000).contains(&found.bytes), "{found:?}");
    }

    #[test]
    fn what_was_stored_before_tells_of_what_there_was_too_much() {
        let limit = limit();
        limit.record_success(size(50, 2000));
        limit.record_rejection(size(40, 9000), Excess::Tokens);
        assert_eq!(limit.get().tokens, 100);
        assert!(limit.get().bytes < 9000);
        limit.record_rejection(size(90, 1900), Excess::Bytes);
        assert_eq!(limit.get().tokens, 70);
    }

    #[test]
    fn a_size_that_is_stored_was_not_refused_for_its_size() {
        let limit = limit();
        limit.record_rejection(size(60, 3000), Excess::Tokens);
        limit.record_success(size(60, 3000));
        assert_eq!(limit.get(), size(100, 10_000));
    }

    #[test]
    fn a_batch_is_cut_to_what_may_be_sent_and_a_large_token_goes_alone() {
        let batch = |keys: usize| Batch {
            subject: Subject::User,
            call: Call::Batch,
            items: (0..keys)
                .map(|key| Item::example(&key.to_string(), Destination::user("app", key.to_string())))
                .collect(),
            parent: Some(7),
        };
        let whole = batch(10);
        let limit = SizeLimit::new(Size::of(&whole));
        assert!(limit.cut(whole).1.is_none());
        limit.record_rejection(Size::of(&batch(10)), Excess::Tokens);
        let (first, rest) = limit.cut(batch(10));
        assert_eq!(
            (first.items.len(), rest.map(|rest| rest.items.len())),
            (5, Some(5))
        );
        let tight = SizeLimit::new(size(10, 1));
        let (first, rest) = tight.cut(batch(3));
        assert_eq!(
            (first.items.len(), rest.map(|rest| rest.parent)),
            (1, Some(Some(7)))
        );
    }
}
