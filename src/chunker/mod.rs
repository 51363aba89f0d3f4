//! Groups tokens into batches. Pure: it knows sizes and identities, nothing of HTTP or databases.

mod lane;
mod spread;

use lane::Lane;
pub use spread::spread_witnesses;

use crate::domain::{Batch, BatchSize, Call, Item, Subject};

/// The size limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens in a batch.
    pub max_tokens: usize,
    /// Bytes of the request's body.
    pub max_bytes: usize,
    /// Bytes of a body without any token.
    pub overhead: usize,
    /// Bytes of a body beside its token where that goes by itself.
    pub single_overhead: usize,
}

impl Limits {
    /// Tells whether a token of this size fits into a request at all.
    #[must_use]
    pub fn admits(&self, call: Call, token_bytes: usize) -> bool {
        let overhead = match call {
            Call::Batch => self.overhead,
            Call::Single => self.single_overhead,
        };
        token_bytes.saturating_add(overhead) <= self.max_bytes
    }
}

/// The tokens that are sent one by one, whatever the limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Singly {
    /// This many tokens at the beginning.
    First(u64),
    /// Every one.
    All,
}

impl Singly {
    /// Returns the call for the next token.
    fn next(self) -> Call {
        match self {
            Self::First(0) => Call::Batch,
            Self::First(_) | Self::All => Call::Single,
        }
    }

    /// A token went by itself.
    fn went(&mut self) {
        if let Self::First(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

/// Takes tokens one by one and gives batches back whenever one is full.
///
/// User and tenant tokens go to different endpoints and never share a batch. Nor do two tokens of one (app,
/// user) or (app, tenant): the API names a failed item by these alone, so a failure would be ambiguous. The
/// second token goes into the next batch, while the first keeps filling up.
#[derive(Debug)]
pub struct Chunker {
    /// The largest that batches may ever be.
    limits: Limits,
    singly: Singly,
    user: Lane,
    tenant: Lane,
}

impl Chunker {
    /// A chunker with nothing in it.
    #[must_use]
    pub fn new(limits: Limits, singly: Singly) -> Self {
        Self {
            limits,
            singly,
            user: Lane::new(Subject::User, limits),
            tenant: Lane::new(Subject::Tenant, limits),
        }
    }

    /// Takes the tokens out of `items` that exceed the byte limit alone. They must never be sent. The others
    /// are to be added in this order.
    #[must_use]
    pub fn take_oversized(&self, items: &mut Vec<Item>) -> Vec<Item> {
        let mut singly = self.singly;
        items
            .extract_if(.., |item| {
                let call = singly.next();
                let fits = self.limits.admits(call, item.encoded.len());
                if fits && call == Call::Single {
                    singly.went();
                }
                !fits
            })
            .collect()
    }

    /// Adds a token that is not oversized; batches that became full are appended to `full`.
    pub fn push(&mut self, item: Item, full: &mut Vec<Batch>) {
        let call = self.singly.next();
        if call == Call::Single {
            self.singly.went();
            full.push(Batch {
                subject: item.destination.subject,
                call,
                items: vec![item],
                parent: None,
            });
            return;
        }
        let subject = item.destination.subject;
        self.lane(subject).push(item, full);
    }

    /// Gives out what is left; batches are appended to `full`.
    pub fn flush(&mut self, full: &mut Vec<Batch>) {
        self.user.flush(full);
        self.tenant.flush(full);
    }

    /// A page has ended. What waited for its batch to fill up since the page before lets go of the memory of
    /// its page: a tenant's token may wait for the whole table.
    pub fn detach(&mut self) {
        self.user.detach();
        self.tenant.detach();
    }

    /// Changes the size of the batches of a subject, never above the limits. A token that is larger goes
    /// alone.
    pub fn resize(&mut self, subject: Subject, size: BatchSize) {
        let size = BatchSize {
            tokens: size.tokens.clamp(1, self.limits.max_tokens),
            bytes: size.bytes.min(self.limits.max_bytes),
        };
        self.lane(subject).resize(size);
    }

    fn lane(&mut self, subject: Subject) -> &mut Lane {
        match subject {
            Subject::User => &mut self.user,
            Subject::Tenant => &mut self.tenant,
        }
    }
}

#[cfg(test)]
mod tests;
