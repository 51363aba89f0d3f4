//! What people and scripts are told: the summary of a run, its failures, its progress.

mod advice;
mod failures;
mod progress;
mod summary;
mod verified;

pub use advice::advice;
pub use failures::{Format, write_failures, write_groups};
pub use progress::{View, show_progress};
pub use summary::{Batches, Summary};
