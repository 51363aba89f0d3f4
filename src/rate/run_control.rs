//! What whoever has a run done holds in hands.

use super::{StopSignal, Throttle};
use crate::{config::RateLimit, metrics::Meter};

/// How a run is ended, slowed down and read while it works. Clones are the same helm.
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
    /// A helm that nobody has touched, for a run at this rate.
    #[must_use]
    pub fn new(rate: RateLimit, meter: Meter) -> Self {
        Self {
            stop: StopSignal::new(),
            throttle: Throttle::new(rate),
            meter,
        }
    }
}
