//! A stand-in for the part of the Descope management API that a migration talks to, for rehearsals and tests.
//!
//! It is strict where the real API is strict (unknown fields, types, all-or-nothing), configurable where the
//! public pages are silent ([`Rules`]), and fails on demand ([`Fault`], [`FaultRates`]).
//!
//! It deliberately shares no types with the client: a mistake in a field's name or type that both sides
//! shared would never show.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use tokenferry::simulator::{Fault, Simulator};
//!
//! let simulator = Simulator::builder().refused_users(["nobody"]).start().await?;
//! simulator.script([Fault::CutAfterCommit, Fault::Status(503)]);
//! // … point a client at simulator.base_url() …
//! assert_eq!(simulator.stored().len(), 1);
//! simulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod auth;
mod barrier;
mod buckets;
mod builder;
mod check;
mod decode;
mod delete;
mod destination;
mod directory;
mod disconnect;
mod faults;
mod handle;
mod inject_fault;
mod license;
mod limits;
mod log;
mod lookup;
mod provider;
mod read;
mod refusal;
mod routes;
mod rules;
mod search;
mod store;
mod stored_token;
mod upload;
mod wire;

pub use self::{
    barrier::Barrier,
    buckets::Bucket,
    builder::Simulator,
    destination::Destination,
    directory::{App, Directory, ProviderToken, User, UserStatus},
    faults::{Fault, FaultRates},
    handle::SimulatorHandle,
    limits::{ParseRateLimitError, RateLimit, RetryAfter},
    log::{LoggedRequest, RequestLog},
    rules::{ExpiryFormat, OnRepeat, Rules, TooLarge, WithoutTenant},
    stored_token::StoredToken,
};
