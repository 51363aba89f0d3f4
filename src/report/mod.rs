//! Reports for people and scripts: summaries, failures, progress and the HTML page.

mod advice;
mod eta;
mod failure_changes;
mod failure_list;
mod failure_table;
mod fitted_table;
mod history_text;
mod html;
mod live_area;
mod migration_text;
mod numbers;
mod outcome_list;
mod progress;
mod progress_lines;
mod rollback_text;
mod run_list;
mod status_badge;
mod summary_text;
mod unread;
mod verify_text;
mod view;

pub use advice::advice;
pub use eta::Eta;
pub use failure_changes::write_changes;
pub use failure_list::{Format, write_failures, write_groups};
pub use failure_table::TableLayout;
pub use history_text::history_text;
pub use html::{Addition, Depth, PageData, Setting, body, document, page, title};
pub use live_area::LiveArea;
pub use migration_text::migration_text;
pub use numbers::counted;
pub use outcome_list::{ExportFormat, write_outcomes};
pub use progress::show_progress;
pub use run_list::run_list;
pub use status_badge::{StatusBadge, after_an_early_end, badge};
pub use view::{CanaryCount, Quota, View};
