//! The way through the house: reader, screen, chunker, uploader, books. Only this module knows all stages.
//!
//! A dry run is the same way with another last stage, which counts, and another record, which holds findings.

mod asked;
mod books;
mod canary;
mod columns;
mod count_stage;
mod delivery;
mod desk;
mod error;
mod failed;
mod fetching;
mod holder_check;
mod memory;
mod migrate;
mod notices;
mod online;
mod originals;
mod patience;
mod phase;
mod prepare;
mod read_stage;
mod record;
mod rollback;
mod shortfall;
mod showing;
mod stages;
mod today;
mod upload_stage;
mod verify;
mod who_stage;

pub use canary::Canary;
pub use error::PipelineError;
pub use migrate::{Ended, Online, Request, migrate};
pub use rollback::rollback;
pub use today::{Today, today};
pub use verify::verify;
