//! Lookups: the users of login IDs, found in bulk and remembered; the tokens that Descope keeps of them; and whether apps,
//! tenants and users exist at all.
//!
//! Every question is paced by the quota of its kind, asked again after a while where that may help, and given up when the
//! run is stopped. A question that nobody answers stops the run and blames no token.

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

/// The users cannot be found now.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The run ends; the stop signal says why.
    #[error("the run was stopped")]
    Stopped,
    /// What was found cannot be remembered.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
