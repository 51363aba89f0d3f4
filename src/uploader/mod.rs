//! Sends batches: paced, retried, isolated, reconciled; the intent before and the outcome after, in the ledger.
//!
//! The promise is kept here: nothing that may be stored already is sent again without asking, and nothing is called
//! committed before the API said so.

mod attempt;
mod bisect;
mod circuit_breaker;
mod context;
mod deferred;
mod delivery;
mod intent;
mod key_guard;
mod reconcile;
mod rejection;
mod size_limit;
mod unresolved;
mod witnesses;

pub use context::{Listener, OnUnresolved, TokenOutcome, TokensFinished, Uploader};
pub use reconcile::Reconciliation;
pub use size_limit::{Size, SizeLimit};
