//! The Descope management API, as far as this program uses it.
//!
//! Facts come from the public API reference and the wire formats of the official SDKs (Go 1.30.0, Node
//! 2.14.0, Python 2.16.1 and others, as of 2026-11). If those are silent, the code says so and takes the safe
//! choice.

mod client;
mod directory;
mod encode;
mod error_body;
mod fetch_token;
mod license;
mod log_fields;
mod lookup_response;
mod provider_token;
mod read_back;
mod redact;
mod request_body;
mod response;
mod retry_after;
mod route;
mod secret_forms;
mod send_deadline;
mod status;
mod stored_token;
mod transport;
mod verified_match;

pub use client::{ApiError, Client};
pub use directory::{App, AppType, User, UserPage, UserStatus};
pub use encode::{encode, encode_into, room_for};
pub use license::{License, PayForLicense};
pub use lookup_response::{LookupOutcome, USER_NOT_FOUND};
pub use provider_token::{ProviderToken, ProviderTokenResult};
pub use read_back::{ReadBackVerdict, witness};
pub use redact::redact;
pub use request_body::{BODY_OVERHEAD, RequestBody, SINGLE_OVERHEAD};
pub use response::{Impasse, Named, Refusal, UploadOutcome};
pub use route::UnusableProxy;
pub use send_deadline::SendDeadline;
pub use stored_token::StoredToken;
pub use verified_match::{Mismatch, VerifiedMatch};
