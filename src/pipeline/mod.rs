//! The pipeline: reader, validation, chunker, uploader, checkpoints. Only this module knows all stages.
//!
//! A dry run takes the same path, but its last stage counts, and its outcomes are recorded as findings.

mod canary;
mod checkpointer;
mod columns;
mod ended;
mod error;
mod estimate_stage;
mod failure_counts;
mod holder_check;
mod lookup_stage;
mod migrate;
mod notices;
mod outcome_sink;
mod outdated;
mod phase_cell;
mod preflight;
mod progress;
mod provider_tokens;
mod read_stage;
mod request;
mod retry;
mod rollback;
mod row_status;
mod run_filter;
mod run_tracker;
mod selection;
mod session;
mod shortfall;
mod sink;
mod sink_item;
mod source_rows;
mod stage_set;
mod stages;
mod unchanged_ranges;
mod upload_stage;
mod validate_stage;
mod verify;

pub use canary::Canary;
pub use ended::Ended;
pub use error::PipelineError;
pub use migrate::migrate;
pub use request::{Preflight, Request};
pub use rollback::rollback;
pub use row_status::{RowStatus, row_status};
pub use verify::verify;
