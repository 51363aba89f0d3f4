//! Errors that end a run.

use thiserror::Error;
use tokio::task::JoinError;

use crate::{descope::ApiError, ledger::LedgerError, reader::SourceError};

/// A run could not begin, or could not go on.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A task of the run panicked; its message is left out, as it may quote what was being worked on.
    #[error("a part of the program failed. This is a bug: please report it")]
    Panicked,
    /// At the end of a run, the rows read and the rows accounted for differ.
    #[error(
        "the books do not close: {selected} rows were read and {settled} have an end. This is a bug: please report it \
         (the run is recorded as interrupted; nothing that is recorded as committed is in doubt)"
    )]
    BooksOpen {
        /// Rows read.
        selected: i64,
        /// Rows with an end.
        settled: i64,
    },
}

impl From<JoinError> for PipelineError {
    fn from(_: JoinError) -> Self {
        Self::Panicked
    }
}
