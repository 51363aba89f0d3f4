//! Rate limit, retries and stopping, for everything that talks to the API.

mod pacer;
mod quota_limiter;
mod retry_loop;
mod run_control;
mod stop_signal;
mod throttle;

pub use pacer::Pacer;
pub use retry_loop::RetryLoop;
pub use run_control::RunControl;
pub use stop_signal::StopSignal;
pub use throttle::{Pace, RateOutOfRange, Throttle};
