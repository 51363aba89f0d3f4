//! Events of the run.

use maud::{Markup, html};

use super::{
    PageData,
    format::{count, optional, seconds, time},
};
use crate::{domain::EventKind, ledger::RunEvent};

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
                div.scroll role="region" aria-labelledby="events" tabindex="0" {
                    table {
                        thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "How long" } th scope="col" { "Details" } } }
                        tbody {
                            @for event in data.events.iter().take(LISTED) {
                                tr {
                                    td.time { (time(event.at)) }
                                    td { (what(event)) }
                                    td.number { @if event.until.is_some() { (lasted(event)) } }
                                    td { (optional(event.detail.as_deref())) }
                                }
                            }
                        }
                    }
                }
                @let more = data.events.len().saturating_sub(LISTED);
                @if more > 0 {
                    p.note { "… and " (more) " more, which the ledger's table " code { "run_events" } " lists." }
                }
            }
        }
    }
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
