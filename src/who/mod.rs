//! Who is who: the users of login IDs, found in bulk and remembered; the tokens that Descope keeps of them; and whether apps,
//! tenants and users exist at all.
//!
//! Every question is paced by the quota of its kind, asked again after a while where that may help, and given up when the
//! run is stopped. A question that nobody answers stops the run and blames no token.

mod asker;
mod matching;
mod online;
mod provider;
mod resolver;
mod token_reader;

pub use asker::{Answered, Asker, Quota};
pub use online::{Check, Sample};
pub use provider::Fetcher;
pub use resolver::Resolver;
pub use token_reader::{Read, TokenReader};

use thiserror::Error;

use crate::ledger::LedgerError;

/// The users cannot be found now.
#[derive(Debug, Error)]
pub enum WhoError {
    /// The run ends; the switch says why.
    #[error("the run was stopped")]
    Stopped,
    /// What was found cannot be remembered.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
