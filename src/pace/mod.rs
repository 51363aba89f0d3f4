//! How fast, how often again, and until when: what everyone who talks to the API keeps to.

mod attempts;
mod helm;
mod pacer;
mod stop;
mod throttle;

pub use attempts::Attempts;
pub use helm::Helm;
pub use pacer::Pacer;
pub use stop::Stop;
pub use throttle::{NotSlower, Pace, Throttle};
