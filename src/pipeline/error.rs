//! Errors that end a run.

use thiserror::Error;
use tokio::task::JoinError;

use crate::{descope::ApiError, ledger::LedgerError, reader::SourceError};

/// The errors that keep a run from starting or continuing.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A task of the run panicked. The message is left out, as it may quote data.
    #[error("a part of the program failed. This is a bug: please report it")]
    Panicked,
    /// The rows read and the rows with an outcome differ at the end.
    #[error(
        "the counts do not add up: {selected} rows were read and {settled} have an outcome. This is a bug: please report it \
         (the run is recorded as interrupted; tokens recorded as committed are stored)"
    )]
    BooksOpen {
        /// Rows read.
        selected: i64,
        /// Rows with an outcome.
        settled: i64,
    },
}

impl From<JoinError> for PipelineError {
    fn from(_: JoinError) -> Self {
        Self::Panicked
    }
}
