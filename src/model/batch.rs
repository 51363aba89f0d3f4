//! A request's worth of tokens.

use super::{Item, Subject};

/// Tokens that go up in one request: of one subject, never two for one (app, user) or one (app, tenant).
#[derive(Debug)]
pub struct Batch {
    /// Which of the two endpoints takes it.
    pub subject: Subject,
    /// The tokens, in the order of the source; never empty.
    pub items: Vec<Item>,
    /// The batch this one was taken out of, after that one was refused.
    pub parent: Option<i64>,
}

/// What the ledger knows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// Recorded before the request leaves. Until there is an answer, what became of it is unknown.
    InFlight,
    /// The API said that all of it is stored.
    Committed,
    /// Nothing of it is stored, and it will not be sent again as it is.
    Failed,
}
