//! Sends batches: paced, retried, isolated, settled; the intent before and the outcome after, in the ledger.
//!
//! The promise is kept here: nothing that may be stored already is sent again without asking, and nothing is called
//! committed before the API said so.

mod attempt;
mod isolate;
mod pacer;
mod retry;
mod settle;
mod stop;
mod uploader;

pub use pacer::Pacer;
pub use settle::Settlement;
pub use stop::Stop;
pub use uploader::{Listener, Settled, SizeLimit, Traffic, UploadError, Uploader};
