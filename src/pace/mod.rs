//! How fast, how often again, and until when: what everyone who talks to the API keeps to.

mod attempts;
mod pacer;
mod stop;

pub use attempts::Attempts;
pub use pacer::Pacer;
pub use stop::Stop;
