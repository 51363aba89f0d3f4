//! Moves legacy OAuth tokens out of Postgres into Descope outbound apps, in batches, once.

pub mod chunk;
pub mod cli;
pub mod config;
pub mod descope;
pub mod ledger;
pub mod model;
pub mod pipeline;
pub mod postgres;
pub mod report;
pub mod scratch;
pub mod screen;
pub mod simulator;
pub mod source;
pub mod upload;
