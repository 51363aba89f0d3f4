//! The list of rows with problems: keys, destinations and reasons, never a value.

use maud::{Markup, html};

use super::{
    PageData,
    format::{optional, prose, text},
    table::{Column, column, of_class, table},
};
use crate::{domain::Mode, ledger::FailedToken, report::numbers::grouped};

/// Renders the table, which can be read and printed without its script.
pub(super) fn section(data: &PageData) -> Markup {
    let total = data.problems();
    let shown = i64::try_from(data.rows.len()).unwrap_or(i64::MAX);
    if shown == 0 && data.run.summary.tokens.failed == 0 {
        return html! {};
    }
    html! {
        section #rows aria-labelledby="problems" {
            h2 #problems {
                @match data.run.summary.mode {
                    Mode::Migrate => "Rows that failed",
                    Mode::DryRun => "Rows with problems",
                    Mode::Verify => "Rows that differ",
                    Mode::Rollback => "Rows that were kept",
                }
            }
            (shown_rows(data, shown, total))
            @if shown > 0 {
                div.tools hidden data-tools {
                    label { "Filter " input type="search" data-filter placeholder="key, app, user, code …" autocomplete="off" spellcheck="false"; }
                    label.narrow {
                        "Sort by "
                        select data-sort {
                            option value="" { "code, as listed" }
                            @for column in columns() { option { (column.name()) } }
                        }
                    }
                    output data-count aria-live="polite" {}
                }
                (table("problems", &columns(), true, data.rows.iter().map(line)))
            }
        }
    }
}

/// Returns the columns; the table can be sorted by each.
fn columns() -> [Column; 5] {
    [
        of_class("Source key", "id"),
        column("App"),
        of_class("User, tenant", "id"),
        column("Code"),
        of_class("Reason", "why"),
    ]
}

fn line(row: &FailedToken) -> Vec<Markup> {
    vec![
        text(&row.source_key),
        optional(row.app_id.as_deref()),
        html! {
            (optional(row.user_id.as_deref()))
            @if let Some(tenant) = &row.tenant_id { " " span.share { "tenant " } (text(tenant)) }
        },
        html! {
            @if let Some(code) = &row.error_code { code { (text(code)) } }
            @if row.severity == "warning" { " " span.badge { "warning" } }
            @else if let Some(by) = &row.refused_by { span.what { (whom(by)) } }
        },
        html! { @if let Some(reason) = &row.reason { (prose(reason)) } },
    ]
}

/// Returns the origin of a rejection. For a verification, it is the origin of the finding.
fn whom(refused_by: &str) -> &str {
    match refused_by {
        "validation" => "found here",
        "api" => "from the API",
        "transport" => "no response",
        other => other,
    }
}

/// Says which rows are shown, and how to list the others.
fn shown_rows(data: &PageData, shown: i64, total: i64) -> Markup {
    let run = data.run.summary.run_id;
    // Errors of a migration are the tokens' current state, which later runs change.
    let summary = &data.run.summary;
    let since = summary.tokens.failed - summary.failures.iter().map(|found| found.count).sum::<i64>();
    html! {
        @if shown < total {
            p.note {
                "The first " (grouped(shown)) " of " (grouped(total)) " by code. All of them: "
                code { "tokenferry failures --run " (run) " --warnings --format csv" } "."
            }
        }
        @if data.run.summary.mode == Mode::Migrate && since > 0 && data.run.finished_at.is_some() {
            p.note {
                (grouped(since)) " of the tokens that failed in this run have been worked on by a later one, and are not listed here."
            }
        }
    }
}
