//! The error of a server that does not respond.

use std::time::Duration;

use sqlx::Error;

/// The server was silent for this long.
#[derive(Debug, thiserror::Error)]
#[error("it did not answer within {}", humantime::format_duration(*.0))]
pub(super) struct NoAnswer(Duration);

impl NoAnswer {
    pub(super) fn after(limit: Duration) -> Error {
        Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            Self(Duration::from_secs(limit.as_secs().max(1))),
        ))
    }
}
