//! The estimate that a dry run makes of the real one.

use serde::Serialize;

/// Work that a run over the same rows has before it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Estimate {
    /// Batches.
    pub batches: i64,
    /// Requests: one for each batch, if none is refused and every answer arrives.
    pub requests: i64,
    /// Those of them that carry one token by itself.
    pub single_requests: i64,
    /// Bytes of the requests' bodies.
    pub bytes: i64,
    /// Tokens that are fetched from where Descope keeps them, one request each; the bytes above are without them.
    pub fetches: i64,
    /// From the first request to the last, in seconds, at the configured rate.
    pub duration_s: f64,
}
