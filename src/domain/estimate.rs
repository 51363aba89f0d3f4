//! The estimate that a dry run makes of the real run.

use serde::Serialize;

/// The expected work of a run over the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Estimate {
    /// The batches.
    pub batches: i64,
    /// The requests: one per batch, if none is rejected and every response arrives.
    pub requests: i64,
    /// The requests that carry a single token.
    pub single_requests: i64,
    /// The bytes of the request bodies, without fetched tokens.
    pub bytes: i64,
    /// The tokens that have to be fetched from Descope, one request each.
    pub fetches: i64,
    /// The seconds from the first request to the last, at the configured rate.
    pub duration_s: f64,
    /// The real run may send larger batches, and so fewer requests: it is not known which the API accepts.
    pub at_most: bool,
}
