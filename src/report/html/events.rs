//! Events of the run.

use maud::{Markup, html};

use super::{
    PageData,
    format::{count, prose, seconds, time},
    table::{column, number, of_class, table},
};
use crate::{
    domain::{EventKind, Mode},
    ledger::RunEvent,
    report::badge,
};

/// The most events in the list; the chart shows all.
const LISTED: usize = 60;

/// Renders the list in chronological order.
pub(super) fn section(data: &PageData) -> Markup {
    html! {
        section aria-labelledby="events" {
            h2 #events { "Events" }
            @if data.events.is_empty() {
                p { "Nothing is recorded: the run has just started, or is from an earlier version that recorded no events." }
            } @else {
                (table("events", &[of_class("When", "time"), column("What"), number("How long"), column("Details")], false,
                    data.events.iter().take(LISTED).map(|event| cells(event, data.run.summary.mode))))
                @let more = data.events.len().saturating_sub(LISTED);
                @if more > 0 {
                    p.note { "… and " (more) " more, which the ledger's table " code { "run_events" } " lists." }
                }
            }
        }
    }
}

fn cells(event: &RunEvent, mode: Mode) -> Vec<Markup> {
    let detail = event.detail.as_deref();
    vec![
        time(event.at),
        html! { (what(event)) },
        html! { @if event.until.is_some() { (lasted(event)) } },
        match event.kind {
            Some(EventKind::Ended) => html! { @if let Some(end) = detail { (prose(&in_words(end, mode))) } },
            _ => html! { @if let Some(detail) = detail { (prose(detail)) } },
        },
    ]
}

/// Replaces the status, which a reason may follow, by its words.
fn in_words(end: &str, mode: Mode) -> String {
    let status = end.split(':').next().unwrap_or_default();
    format!("{}{}", badge(status, mode).words, &end[status.len()..])
}

fn what(event: &RunEvent) -> &'static str {
    match event.kind {
        Some(EventKind::Started) => "A process started the run",
        Some(EventKind::Resumed) => "A process resumed the run",
        Some(EventKind::Held) => "The API asked to wait",
        Some(EventKind::LookupsHeld) => "The API asked to wait with lookups",
        Some(EventKind::Paused) => "The run was paused",
        Some(EventKind::SizeLowered) => "Batches became smaller",
        Some(EventKind::RateChanged) => "The allowed rate changed",
        Some(EventKind::SourceAway) => "The source did not respond",
        Some(EventKind::LedgerAway) => "The ledger did not respond",
        Some(EventKind::Ended) => "The process ended",
        None => "An event unknown to this version",
    }
}

fn lasted(event: &RunEvent) -> String {
    match event.times {
        1 => seconds(event.seconds),
        times => format!(
            "{} in {}",
            seconds(event.seconds),
            count(times.into(), "time", "times")
        ),
    }
}
