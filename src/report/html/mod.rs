//! The HTML page about a run: self-contained, without network access.
//!
//! [`PageData::read`] reads the ledger; everything after that is pure. [`page`] is the whole file, [`body`]
//! the page without the document around it, for embedding. The templates escape all data. Style and script
//! are the same on every page and contain no data, so the document allows them by their digests.

mod chart;
mod comparison;
mod data;
mod document;
mod events;
mod format;
mod headline;
mod latency;
mod next_steps;
mod outcomes;
mod problems;
mod run_details;
mod settings;
mod table;
mod throughput;

use maud::{Markup, html};

use crate::domain::visible;
pub use data::{Depth, PageData, Setting};
pub use document::{Addition, document};

/// Renders the whole page about a run.
#[must_use]
pub fn page(data: &PageData) -> String {
    document(&title(data), &body(data), None)
}

/// Returns the title of the page.
#[must_use]
pub fn title(data: &PageData) -> String {
    format!(
        "Run {} of {}",
        data.run.summary.run_id,
        visible(&data.run.summary.migration)
    )
}

/// Renders the page without the document around it.
#[must_use]
pub fn body(data: &PageData) -> Markup {
    html! {
        header.top { (headline::header(data)) }
        main {
            section.books aria-label="Totals" { (headline::books(data)) }
            div.pair {
                section aria-labelledby="next" { h2 #next { "What to do next" } (next_steps::steps(data)) }
                section aria-labelledby="asked" { h2 #asked { "Request" } (run_details::asked(data)) }
            }
            (comparison::section(data))
            (throughput::section(data))
            (latency::section(data))
            (events::section(data))
            (outcomes::by_code(data))
            (outcomes::by_app(data))
            (problems::section(data))
            (settings::section(data))
        }
        footer {
            p {
                "Made " (format::time(data.made_at)) " by tokenferry " (env!("CARGO_PKG_VERSION"))
                ". All times are UTC. This page contains no token."
            }
        }
    }
}
