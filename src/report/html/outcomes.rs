//! Outcomes of tokens, by code and by app.

use maud::{Markup, html};

use super::{
    PageData,
    chart::stacked,
    format::{percent, text},
};
use crate::{
    domain::CodeCount,
    domain::{Mode, visible},
    report::{advice, numbers::grouped},
};

/// Renders the problems, most frequent first, with advice.
pub(super) fn by_code(data: &PageData) -> Markup {
    let summary = &data.run.summary;
    if summary.failures.is_empty() && summary.warnings.is_empty() && summary.superseded.is_empty() {
        return html! {};
    }
    let most = summary
        .failures
        .iter()
        .chain(&summary.warnings)
        .chain(&summary.superseded)
        .map(|found| found.count)
        .max();
    let failures = summary.new_failures();
    let errors = failures.iter().map(|found| (found, "error", "failed"));
    let warnings = summary.warnings.iter().map(|found| (found, "warning", "warning"));
    let acknowledged = summary
        .acknowledged
        .iter()
        .map(|found| (found, "acknowledged", "superseded"));
    let superseded = summary
        .superseded
        .iter()
        .map(|found| (found, "superseded", "superseded"));
    html! {
        section aria-labelledby="codes" {
            h2 #codes {
                @match summary.mode {
                    Mode::Migrate => "Reasons",
                    Mode::DryRun => "Problems",
                    Mode::Verify => "Differences",
                    Mode::Rollback => "Why some were kept",
                }
            }
            div.scroll role="region" aria-labelledby="codes" tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Code" } th.number scope="col" { "Rows" } th.bars scope="col" { span.hidden { "Share" } } th scope="col" { "Problem and remedy" } } }
                    tbody {
                        @for (found, severity, colour) in errors.chain(acknowledged).chain(warnings).chain(superseded) {
                            tr {
                                th scope="row" {
                                    @if severity == "superseded" {
                                        // These rows are not in the list below.
                                        code { (visible(&found.code)) }
                                    } @else {
                                        a href={ "#filter=" (fragment(&found.code)) } title="Show these rows" { code { (visible(&found.code)) } }
                                    }
                                    @if severity != "error" { " " span.badge { (severity) } }
                                }
                                td.number { (grouped(found.count)) }
                                td.bars { (stacked(&[(colour, found.count)], most.unwrap_or(1), &visible(&found.code))) }
                                td { (what(found)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn what(found: &CodeCount) -> Markup {
    // Reasons of local rules already include the advice.
    let advice = advice(&found.code).filter(|advice| !found.example.ends_with(advice));
    html! {
        (text(&found.example))
        @if let Some(advice) = advice { p.advice { "→ " (advice) } }
    }
}

/// Encodes a code, which may be the API's, for a link.
fn fragment(code: &str) -> String {
    url::form_urlencoded::byte_serialize(code.as_bytes()).collect()
}

/// Renders the outcomes by app.
pub(super) fn by_app(data: &PageData) -> Markup {
    let Some((apps, more)) = data.apps.as_ref().filter(|(apps, _)| !apps.is_empty()) else {
        return html! {};
    };
    let migrated = data.run.summary.mode == Mode::Migrate;
    let has_warnings = apps.iter().any(|app| app.warnings > 0);
    html! {
        section aria-labelledby="apps" {
            h2 #apps { @if migrated { "By app" } @else { "Problems by app" } }
            div.scroll role="region" aria-labelledby="apps" tabindex="0" {
                table {
                    thead {
                        tr {
                            th scope="col" { "App" }
                            th.bars scope="col" { span.hidden { "Share" } }
                            @if migrated { th.number scope="col" { "Committed" } th.number scope="col" { "Superseded" } }
                            th.number scope="col" { @if migrated { "Failed" } @else { "Errors" } }
                            @if has_warnings { th.number scope="col" { "Warnings" } }
                            @if migrated { th.number scope="col" { "Arrived" } }
                        }
                    }
                    tbody {
                        @for app in apps {
                            @let sent = app.committed + app.failed;
                            @let whole = if migrated { sent + app.superseded } else { app.failed + app.warnings };
                            @let name = app.app.as_deref().map_or_else(|| "(none)".to_owned(), visible);
                            @let parts = [("committed", app.committed), ("superseded", app.superseded), ("failed", app.failed),
                                          ("warning", if migrated { 0 } else { app.warnings })];
                            tr {
                                th scope="row" { bdi { (name) } }
                                td.bars { (stacked(&parts, whole, &name)) }
                                @if migrated { td.number { (grouped(app.committed)) } td.number { (grouped(app.superseded)) } }
                                td.number { (grouped(app.failed)) }
                                @if has_warnings { td.number { (grouped(app.warnings)) } }
                                @if migrated { td.number { (percent(app.committed, sent)) } }
                            }
                        }
                    }
                }
            }
            @if *more > 0 { p.note { "… and " (grouped(*more)) " more apps." } }
            @if migrated {
                p.note { "Tokens whose last outcome is from this run. Unchanged rows are not included." }
            }
        }
    }
}
