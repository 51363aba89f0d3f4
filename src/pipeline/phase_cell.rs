//! The phase cell: the run's current phase, set by the stages.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::debug;

use crate::domain::Phase;

/// Shared by the stages and their readers.
#[derive(Debug, Clone, Default)]
pub(super) struct PhaseCell(Arc<Mutex<Phase>>);

impl PhaseCell {
    /// Enters another phase.
    pub(super) fn enter(&self, phase: Phase) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != phase {
            debug!(phase = phase.as_str(), "next");
        }
        *now = phase;
    }

    pub(super) fn now(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
