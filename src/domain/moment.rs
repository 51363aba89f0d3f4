//! A moment, by two clocks.

use std::time::SystemTime;

use tokio::time::{Duration, Instant};

/// The steady clock stands still while the machine is suspended, and the wall clock may be set back. So the time since a
/// moment is the longer of the two: who asks whether something has become too old is never told too little.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// How long ago it was, at least by one of the clocks.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }

    /// The same in seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        let since = self
            .wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}
