//! Rate limit, retries and stopping, for everything that talks to the API.

mod adaptive_rate;
mod pacer;
mod quota_limiter;
mod retry_loop;
mod run_control;
mod shared_quotas;
mod shared_slots;
mod stop_signal;
mod throttle;

pub use pacer::Pacer;
pub use retry_loop::RetryLoop;
pub use run_control::RunControl;
pub use shared_quotas::SharedQuotas;
pub use stop_signal::StopSignal;
pub use throttle::{Pace, RateOutOfRange, Throttle};
