//! Moves legacy OAuth tokens out of Postgres into Descope outbound apps, in batches, once.

pub mod config;
pub mod model;
pub mod scratch;
