//! Moves legacy OAuth tokens out of Postgres into Descope outbound apps, in batches, once.

pub mod scratch;
