//! How large batches may be: what is learnt from refusals.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tracing::warn;

/// How many tokens a batch may have, as far as this run has learnt from refusals of size.
#[derive(Debug, Clone)]
pub struct SizeLimit(Arc<AtomicUsize>);

impl SizeLimit {
    /// Begins with what is configured.
    #[must_use]
    pub fn new(max_tokens: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(max_tokens)))
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether that is less than before.
    pub(super) fn lower(&self, max_tokens: usize) -> bool {
        let lowered = max_tokens.max(1);
        let is_less = self.0.fetch_min(lowered, Ordering::Relaxed) > lowered;
        if is_less {
            warn!(
                max_tokens = lowered,
                "the API refused a batch for its size: smaller ones from here on"
            );
        }
        is_less
    }
}
