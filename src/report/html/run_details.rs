//! The details of a run: the request, the processes and the times.

use maud::{Markup, html};

use super::{
    PageData,
    format::{count, optional, time},
};
use crate::domain::{EventKind, Mode, visible};

/// Renders the request and the processes that worked on it.
pub(super) fn asked(data: &PageData) -> Markup {
    let summary = &data.run.summary;
    html! {
        dl.terms {
            (term("Migration", &html! { (visible(&summary.migration)) }))
            (term("Mode", &html! { (mode(summary.mode)) }))
            (term("Selection", &html! { (selection(data)) }))
            @for (key, name) in [("source.table", "Source"), ("source.where", "Condition"), ("source.url", "Database"), ("api.base_url", "API")] {
                @if let Some(value) = setting(data, key) {
                    (term(name, &html! { code { (visible(value)) } }))
                }
            }
            @let orders: Vec<_> = data.events.iter()
                .filter(|event| matches!(event.kind, Some(EventKind::Started | EventKind::Resumed))).collect();
            @if let [only] = orders.as_slice() {
                (term("Request", &optional(only.detail.as_deref())))
            } @else if let Some(first) = orders.first() {
                (term("First request", &optional(first.detail.as_deref())))
            }
            (term("Started", &time(data.run.started_at)))
            @match data.run.finished_at {
                Some(at) => (term("Ended", &time(at))),
                None => (term("Last progress", &time(data.run.progressed_at))),
            }
            (term("By", &html! {
                (visible(&data.run.holder))
                @if summary.resumed { ", after earlier processes" }
            }))
        }
    }
}

fn term(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Migrate => "upload",
        Mode::DryRun => "dry run: read and check, send nothing",
        Mode::Verify => "read tokens back and compare them",
        Mode::Rollback => "delete what an earlier run uploaded",
    }
}

fn selection(data: &PageData) -> String {
    if let Some(found) = &data.run.summary.verify {
        let which = match found.sample {
            Some(sample) => format!("a sample of {}", count(sample, "token", "tokens")),
            None => "every committed token".to_owned(),
        };
        let seed = found
            .seed
            .map(|seed| format!(", seed {seed}"))
            .unwrap_or_default();
        let of = found
            .of_run
            .map(|run| format!(" of run {run}"))
            .unwrap_or_default();
        let expired = if found.include_expired {
            ", expired ones included"
        } else {
            ""
        };
        return format!("{which}{of}{seed}{expired}");
    }
    if let Some(found) = &data.run.summary.rollback {
        let dry = if found.dry_run { ", dry run" } else { "" };
        return format!("tokens of run {}{dry}", found.of_run);
    }
    match data.run.selection.as_str() {
        "failed" => "only tokens whose last outcome was a failure".to_owned(),
        _ => "all rows of the source".to_owned(),
    }
}

fn setting<'a>(data: &'a PageData, key: &str) -> Option<&'a str> {
    let found = data.settings.iter().find(|setting| setting.key == key);
    found?.shown.as_deref()
}
