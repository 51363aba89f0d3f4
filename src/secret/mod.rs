//! Secrets: values that are never printed, their memory, and the digests that the ledger keeps in their
//! place.

mod arena;
mod buffer_pool;
mod fingerprint;
mod parts;
mod zeroizing_buf;

pub use arena::{FrozenArena, PendingSecret, Secret, SecretArena};
pub use buffer_pool::BufferPool;
pub use fingerprint::{Fingerprint, FingerprintKey};
pub(crate) use parts::KINDS;
pub use parts::{Parts, PartsKey, SentAttributes};
pub use zeroizing_buf::ZeroizingBuf;
