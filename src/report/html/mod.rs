//! A run on one page: a self-contained HTML document that asks no network for anything.
//!
//! [`PageData::read`] takes what there is from the ledger; everything after that is pure. [`body`] is the page without the
//! document around it, for whoever shows it in another one; [`page`] is the whole file. All that comes from a database is
//! escaped by the templates, and nothing of it is in the style or the script, which are the same on every page: the document
//! allows exactly these two, by their digests.

mod chart;
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
mod throughput;

use maud::{Markup, html};

use crate::domain::visible;
pub use data::{Depth, PageData, Setting};
pub use document::{Addition, document};

/// The whole page about a run.
#[must_use]
pub fn page(data: &PageData) -> String {
    document(&title(data), &body(data), None)
}

/// What the page is called.
#[must_use]
pub fn title(data: &PageData) -> String {
    format!(
        "Run {} of {}",
        data.run.summary.run_id,
        visible(&data.run.summary.migration)
    )
}

/// The page without the document around it.
#[must_use]
pub fn body(data: &PageData) -> Markup {
    html! {
        header.top { (headline::header(data)) }
        main {
            section.books aria-label="The books" { (headline::books(data)) }
            div.pair {
                section aria-labelledby="next" { h2 #next { "What to do next" } (next_steps::steps(data)) }
                section aria-labelledby="asked" { h2 #asked { "What was asked" } (run_details::asked(data)) }
            }
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
                ". All times are UTC. No token is in this page."
            }
        }
    }
}
