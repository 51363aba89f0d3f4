//! Outcomes of tokens, by code and by app.

use maud::{Markup, html};

use super::{
    PageData,
    chart::stacked,
    format::{percent, prose},
    table::{bars, column, number, of_class, table},
};
use crate::{
    domain::{CodeCount, Mode, visible},
    ledger::AppOutcomes,
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
            (table("codes", &[column("Code"), number("Rows"), bars(), of_class("Problem and remedy", "why")], false,
                errors.chain(acknowledged).chain(warnings).chain(superseded).map(|(found, severity, colour)| vec![
                    code(found, severity),
                    html! { (grouped(found.count)) },
                    stacked(&[(colour, found.count)], most.unwrap_or(1), &visible(&found.code)),
                    what(found),
                ])))
        }
    }
}

fn code(found: &CodeCount, severity: &str) -> Markup {
    html! {
        @if severity == "superseded" {
            // These rows are not in the list below.
            code { (visible(&found.code)) } " " span.badge.plain { (severity) }
        } @else {
            a href={ "#filter=" (fragment(&found.code)) } title="Show these rows" { code { (visible(&found.code)) } }
            @if severity == "warning" { " " span.badge { (severity) } }
            @if severity == "acknowledged" { " " span.badge.plain { (severity) } }
        }
    }
}

fn what(found: &CodeCount) -> Markup {
    // Reasons of local rules already include the advice.
    let advice = advice(&found.code).filter(|advice| !found.example.ends_with(advice));
    html! {
        (prose(&found.example))
        @if let Some(advice) = advice { p.advice { "→ " (prose(advice)) } }
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
    let mut columns = vec![column("App"), bars()];
    if migrated {
        columns.extend([number("Committed"), number("Superseded"), number("Failed")]);
    } else {
        columns.push(number("Errors"));
    }
    columns.extend(has_warnings.then(|| number("Warnings")));
    columns.extend(migrated.then(|| number("Arrived")));
    html! {
        section aria-labelledby="apps" {
            h2 #apps { @if migrated { "By app" } @else { "Problems by app" } }
            (table("apps", &columns, false, apps.iter().map(|app| by_one_app(app, migrated, has_warnings))))
            @if *more > 0 { p.note { "… and " (grouped(*more)) " more apps." } }
            @if migrated {
                p.note { "Tokens whose last outcome is from this run. Unchanged rows are not included." }
            }
        }
    }
}

fn by_one_app(app: &AppOutcomes, migrated: bool, has_warnings: bool) -> Vec<Markup> {
    let sent = app.committed + app.failed;
    let (whole, warnings) = if migrated {
        (sent + app.superseded, 0)
    } else {
        (app.failed + app.warnings, app.warnings)
    };
    let name = app.app.as_deref().map_or_else(|| "(none)".to_owned(), visible);
    let parts = [
        ("committed", app.committed),
        ("superseded", app.superseded),
        ("failed", app.failed),
        ("warning", warnings),
    ];
    let count = |number| html! { (grouped(number)) };
    let mut cells = vec![html! { bdi { (name) } }, stacked(&parts, whole, &name)];
    if migrated {
        cells.extend([count(app.committed), count(app.superseded)]);
    }
    cells.push(count(app.failed));
    cells.extend(has_warnings.then(|| count(app.warnings)));
    cells.extend(migrated.then(|| html! { (percent(app.committed, sent)) }));
    cells
}
