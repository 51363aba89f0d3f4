//! Sends batches: paced, retried, isolated, reconciled; the intent before and the outcome after, in the ledger.
//!
//! The promise is kept here: nothing that may be stored already is sent again without asking, and nothing is called
//! committed before the API said so.

mod attempt;
mod claims;
mod deliver;
mod doubt;
mod intent;
mod isolate;
mod parked;
mod reconcile;
mod refuse;
mod size_limit;
mod streak;
mod uploader;
mod witnesses;

pub use reconcile::Reconciliation;
pub use size_limit::{Size, SizeLimit};
pub use uploader::{End, Listener, OnUnresolved, Settled, Uploader};
