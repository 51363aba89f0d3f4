//! Groups tokens into batches. Pure: it knows sizes and identities, nothing of HTTP or databases.

mod lane;

use lane::Lane;

use crate::model::{Batch, Item, Subject};

/// How large a batch may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens in a batch.
    pub max_tokens: usize,
    /// Bytes of the request's body.
    pub max_bytes: usize,
    /// Bytes of a body without any token.
    pub overhead: usize,
}

impl Limits {
    /// Whether a token of this size fits into a request at all.
    #[must_use]
    pub fn admits(&self, token_bytes: usize) -> bool {
        token_bytes.saturating_add(self.overhead) <= self.max_bytes
    }
}

/// Takes tokens one by one and gives batches back whenever one is full.
///
/// User and tenant tokens go to different endpoints and never share a batch. Nor do two tokens of one (app, user), or
/// one (app, tenant): the API names a failed item by those alone, so it could not be told which of the two it means.
/// The second one goes into the next batch, while the first keeps filling up.
#[derive(Debug)]
pub struct Chunker {
    limits: Limits,
    user: Lane,
    tenant: Lane,
}

impl Chunker {
    /// A chunker with nothing in it.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            user: Lane::new(Subject::User),
            tenant: Lane::new(Subject::Tenant),
        }
    }

    /// Adds a token; batches that became full are appended to `full`.
    ///
    /// # Errors
    /// Gives the token back if it alone exceeds the byte limit. It must never be sent.
    pub fn push(&mut self, item: Item, full: &mut Vec<Batch>) -> Result<(), Box<Item>> {
        if !self.limits.admits(item.encoded.len()) {
            return Err(Box::new(item));
        }
        let lane = match item.destination.subject {
            Subject::User => &mut self.user,
            Subject::Tenant => &mut self.tenant,
        };
        lane.push(item, &self.limits, full);
        Ok(())
    }

    /// Gives out what is left; batches are appended to `full`.
    pub fn flush(&mut self, full: &mut Vec<Batch>) {
        self.user.flush(full);
        self.tenant.flush(full);
    }

    /// From now on, batches hold at most so many tokens. Raises nothing.
    pub fn lower(&mut self, max_tokens: usize) {
        self.limits.max_tokens = self.limits.max_tokens.min(max_tokens.max(1));
    }
}

#[cfg(test)]
mod tests;
