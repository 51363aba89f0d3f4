//! Handles to control and observe a run.

use super::{StopSignal, Throttle};
use crate::{config::RateLimit, metrics::Meter};

/// How a run is ended, slowed down and read while it works. Clones share one state.
#[derive(Debug, Clone)]
pub struct RunControl {
    /// Ends it.
    pub stop: StopSignal,
    /// Holds it back.
    pub throttle: Throttle,
    /// Counts.
    pub meter: Meter,
}

impl RunControl {
    /// An untouched control, for a run at this rate.
    #[must_use]
    pub fn new(rate: RateLimit, meter: Meter) -> Self {
        Self {
            stop: StopSignal::new(),
            throttle: Throttle::new(rate),
            meter,
        }
    }
}
