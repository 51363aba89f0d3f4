//! A batch: the tokens of one request.

use super::{Evidence, Item, Subject};

/// Tokens of one request: all of one subject, and never two with the same identity.
#[derive(Debug)]
pub struct Batch {
    /// The kind of owner.
    pub subject: Subject,
    /// The endpoint that takes them.
    pub call: Call,
    /// The tokens in source order. Never empty, and only one if the endpoint takes no more.
    pub items: Vec<Item>,
    /// The rejected batch that this one was split from.
    pub parent: Option<i64>,
}

impl Batch {
    /// Returns true if the ledger has no outcome for any of the rows yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.items.iter().all(|item| item.is_new)
    }

    /// Lets none of its tokens testify: they may be stored already, so reading them back could not tell
    /// whether they arrived with another batch.
    pub fn discard_evidence(&mut self) {
        for item in &mut self.items {
            item.evidence = Evidence::default();
        }
    }
}

/// The API's two kinds of upload endpoint. Each exists for either subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Many tokens: all are stored or none.
    Batch,
    /// One token. If it has a refresh token, the API tries it at the provider, and stores nothing if that
    /// fails.
    Single,
}

/// The state of a batch in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// Recorded before the request is sent. The outcome is unknown until the response arrives.
    InFlight,
    /// The API confirmed that the whole batch is stored.
    Committed,
    /// Nothing of the batch is stored, and it is not sent again in this form.
    Failed,
}
