//! A moment, measured by two clocks.

use std::time::SystemTime;

use tokio::time::{Duration, Instant};

/// The monotonic clock stops while the machine is suspended, and the wall clock may be set back. The elapsed
/// time is therefore the longer of the two, so that an age is never underestimated.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Returns the current moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Returns the time since then: the longer of the two clocks.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        let since = self
            .wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}
