//! Groups tokens into batches. Pure: it knows sizes and identities, nothing of HTTP or databases.

mod lane;
mod spread;

use lane::Lane;
pub use spread::spread_witnesses;

use crate::domain::{Batch, Call, Item, Subject};

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
    /// As configured.
    limits: Limits,
    /// The current limits of a batch.
    current: Limits,
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
            current: limits,
            singly,
            user: Lane::new(Subject::User),
            tenant: Lane::new(Subject::Tenant),
        }
    }

    /// Adds a token; batches that became full are appended to `full`.
    ///
    /// # Errors
    /// Gives the token back if it alone exceeds the byte limit. It must never be sent.
    pub fn push(&mut self, item: Item, full: &mut Vec<Batch>) -> Result<(), Box<Item>> {
        let call = self.singly.next();
        if !self.limits.admits(call, item.encoded.len()) {
            return Err(Box::new(item));
        }
        if call == Call::Single {
            self.singly.went();
            full.push(Batch {
                subject: item.destination.subject,
                call,
                items: vec![item],
                parent: None,
            });
            return Ok(());
        }
        let lane = match item.destination.subject {
            Subject::User => &mut self.user,
            Subject::Tenant => &mut self.tenant,
        };
        lane.push(item, &self.current, full);
        Ok(())
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

    /// Lowers the limits of tokens and bytes per batch, never above the configured ones. A token that is
    /// larger than that goes alone.
    pub fn resize(&mut self, max_tokens: usize, max_bytes: usize) {
        self.current.max_tokens = max_tokens.clamp(1, self.limits.max_tokens);
        self.current.max_bytes = max_bytes.min(self.limits.max_bytes);
    }
}

#[cfg(test)]
mod tests;
