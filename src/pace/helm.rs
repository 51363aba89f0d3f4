//! What whoever has a run done holds in hands.

use super::{Stop, Throttle};
use crate::{config::RateLimit, meter::Meter};

/// How a run is ended, slowed down and read while it works. Clones are the same helm.
#[derive(Debug, Clone)]
pub struct Helm {
    /// Ends it.
    pub stop: Stop,
    /// Holds it back.
    pub throttle: Throttle,
    /// Counts.
    pub meter: Meter,
}

impl Helm {
    /// A helm that nobody has touched, for a run at this rate.
    #[must_use]
    pub fn new(rate: RateLimit, meter: Meter) -> Self {
        Self {
            stop: Stop::new(),
            throttle: Throttle::new(rate),
            meter,
        }
    }
}
