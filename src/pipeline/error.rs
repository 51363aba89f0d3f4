//! What ends a run with an error.

use thiserror::Error;

use crate::{descope::ApiError, ledger::LedgerError, source::SourceError, upload::UploadError};

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
    /// A task of the run panicked.
    #[error("a part of the program failed: {0}. This is a bug: please report it")]
    Panicked(String),
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

impl From<UploadError> for PipelineError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Ledger(error) => Self::Ledger(error),
            UploadError::NothingToRecognise => Self::Panicked(error.to_string()),
        }
    }
}
