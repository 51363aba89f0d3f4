//! Batch size: tokens and bytes of a request, and the sizes that an API has shown to accept.

/// The size of a batch, or a limit for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSize {
    /// Number of tokens.
    pub tokens: usize,
    /// Bytes of the request's body.
    pub bytes: usize,
}

/// The batch sizes that one endpoint of an API has accepted and rejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LearnedSizes {
    /// The most tokens and the most bytes that were stored, not necessarily by one batch.
    pub accepted: BatchSize,
    /// The sizes that were rejected. Each was too large in at least one of the two dimensions.
    pub rejected: Vec<BatchSize>,
}
