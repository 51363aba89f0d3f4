//! An exchange: one request and its outcome.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Span, field::Empty, info_span};

use super::{Purpose, instruments::Instruments};

/// The name of the span of a request.
pub const REQUEST_SPAN: &str = "request";

/// A request in flight. Counted as abandoned if it is dropped without an outcome.
#[must_use]
pub struct Exchange {
    instruments: Arc<Instruments>,
    purpose: Purpose,
    begin: Instant,
    is_over: bool,
    /// Ends with the exchange.
    span: Span,
}

impl Exchange {
    pub(super) fn begin(instruments: Arc<Instruments>, purpose: Purpose) -> Self {
        instruments.leaves(purpose);
        Self {
            instruments,
            purpose,
            begin: Instant::now(),
            is_over: false,
            span: info_span!("request", purpose = purpose.as_str(), status = Empty),
        }
    }

    /// Records a complete response.
    pub fn answered(self, status: u16) {
        self.over(&status.to_string());
    }

    /// Records that no response arrived; `why` is one of a few words.
    pub fn lost(self, why: &str) {
        self.over(why);
    }

    fn over(mut self, status: &str) {
        self.is_over = true;
        self.span.record("status", status);
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
