//! Handles to control and observe a run.

use super::{StopSignal, Throttle};
use crate::{config::RateLimit, metrics::Meter};

/// Handles that stop, throttle and measure a run. Clones share one state.
#[derive(Debug, Clone)]
pub struct RunControl {
    /// Stops the run.
    pub stop: StopSignal,
    /// Pauses it, or slows it down.
    pub throttle: Throttle,
    /// Counts requests and waits.
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
