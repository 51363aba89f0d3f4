//! What people and scripts are told: the summary of a run, its failures, its progress.

mod advice;
mod failures;
mod history;
mod lines;
mod pace_of_run;
mod page;
mod progress;
mod region;
mod rolled_back;
mod standing;
mod summary;
mod unread;
mod verified;

pub use advice::advice;
pub use failures::{Format, write_failures, write_groups};
pub use history::history_text;
pub use pace_of_run::{PaceOfRun, Quota};
pub use page::{Addition, Depth, PageData, Setting, body, document, page, title};
pub use progress::{View, show_progress};
pub use region::Region;
pub use standing::{Badge, after_an_early_end, badge};
pub use summary::{Batches, Summary};
