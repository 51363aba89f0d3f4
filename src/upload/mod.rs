//! Sends batches: paced, retried, isolated, settled; the intent before and the outcome after, in the ledger.
//!
//! The promise is kept here: nothing that may be stored already is sent again without asking, and nothing is called
//! committed before the API said so.

mod attempt;
mod claims;
mod isolate;
mod parked;
mod refuse;
mod settle;
mod size_limit;
mod streak;
mod uploader;

pub use settle::Settlement;
pub use size_limit::SizeLimit;
pub use uploader::{End, Listener, Settled, Untold, UploadError, Uploader};
