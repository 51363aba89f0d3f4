//! A request and its outcome.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Purpose, instruments::Instruments};

/// A request under way. Dropped without a word about its end, it was left behind.
#[must_use]
pub struct Exchange {
    instruments: Arc<Instruments>,
    purpose: Purpose,
    begin: Instant,
    is_over: bool,
}

impl Exchange {
    pub(super) fn begin(instruments: Arc<Instruments>, purpose: Purpose) -> Self {
        instruments.leaves(purpose);
        Self {
            instruments,
            purpose,
            begin: Instant::now(),
            is_over: false,
        }
    }

    /// There was an answer, read to its end.
    pub fn answered(self, status: u16) {
        self.over(&status.to_string());
    }

    /// There was none; the word says why, and is one of a few.
    pub fn lost(self, why: &str) {
        self.over(why);
    }

    fn over(mut self, status: &str) {
        self.is_over = true;
        self.instruments.came_to(self.purpose, status);
        self.instruments.took(self.purpose, self.begin.elapsed());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.instruments.returns(self.purpose);
        if !self.is_over {
            self.instruments.came_to(self.purpose, "abandoned");
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}
