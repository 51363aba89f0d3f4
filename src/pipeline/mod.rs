//! The way through the house: reader, screen, chunker, uploader, books. Only this module knows all stages.

mod books;
mod desk;
mod error;
mod memory;
mod migrate;
mod prepare;
mod read_stage;
mod stages;
mod upload_stage;

pub use error::PipelineError;
pub use migrate::{Ended, Request, migrate};
