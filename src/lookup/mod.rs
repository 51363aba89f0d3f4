//! Lookups: find the users of login IDs in bulk, fetch the tokens that Descope stores for them, read tokens
//! back, and check that apps, tenants and users exist.
//!
//! Every request waits for the quota of its kind, is retried if that may help, and is abandoned when the run
//! is stopped. If no attempt succeeds, the run stops and no token fails.

mod client;
mod existence;
mod match_users;
mod provider_tokens;
mod token_reader;
mod user_resolver;

pub use client::{Answered, LookupClient, Quota};
pub use existence::{ExistenceCheck, Sample};
pub use provider_tokens::ProviderTokenFetcher;
pub use token_reader::{Read, TokenReader};
pub use user_resolver::UserResolver;

use thiserror::Error;

use crate::ledger::LedgerError;

/// The reason why a lookup failed.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The run ends; the stop signal has the reason.
    #[error("the run was stopped")]
    Stopped,
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
