//! The Descope management API, as far as this tool talks to it.
//!
//! Facts come from the public API reference and the wire formats of the official SDKs (Go 1.30.0, Node 2.14.0,
//! Python 2.16.1 and others, looked through in 2026-11). Where those are silent, the code says so and takes the careful way.

mod answer;
mod client;
mod departure;
mod directory;
mod echo;
mod encode;
mod error_body;
mod fetch;
mod license;
mod looked;
mod outgoing;
mod provider_token;
mod recognise;
mod retry_after;
mod route;
mod scrub;
mod status;
mod stored;
mod testimony;
mod told;
mod wire;

pub use answer::{Answer, Impasse, Named, Refusal};
pub use client::{ApiError, Client};
pub use departure::Departure;
pub use directory::{App, AppType, User, UserPage, UserStatus};
pub use encode::{encode, encode_into, room_for};
pub use license::{Fare, License};
pub use looked::{Looked, USER_NOT_FOUND};
pub use provider_token::{Kept, ProviderToken};
pub use recognise::{Recognised, Unrecognised};
pub use route::UnusableProxy;
pub use scrub::scrub;
pub use stored::StoredToken;
pub use testimony::{Testimony, witness};
pub use wire::{BODY_OVERHEAD, RequestBody, SINGLE_OVERHEAD};
