//! A request's worth of tokens.

use super::{Item, Subject};

/// Tokens that go up in one request: of one subject, never two for one (app, user) or one (app, tenant).
#[derive(Debug)]
pub struct Batch {
    /// Whose tokens they are.
    pub subject: Subject,
    /// Which call carries them.
    pub call: Call,
    /// The tokens, in the order of the source; never empty, and just one where the call takes no more.
    pub items: Vec<Item>,
    /// The batch this one was taken out of, after that one was refused.
    pub parent: Option<i64>,
}

impl Batch {
    /// The ledger holds no outcome of any of the rows yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.items.iter().all(|item| item.is_new)
    }
}

/// The API's two ways to take tokens; each has an endpoint for either subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Many tokens, all of them or none.
    Batch,
    /// One token by itself. If it has a refresh token, the API tries that at the provider, and writes nothing if it fails.
    Single,
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
