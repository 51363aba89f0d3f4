//! The throughput section: tokens over time, and the periods that limited it.

use chrono::{DateTime, Duration, Utc};
use maud::{Markup, html};
use plotters::prelude::*;

use super::{
    PageData,
    chart::{self, Area, Room, Undrawn},
    format::{count, seconds},
};
use crate::{
    domain::EventKind,
    ledger::{RunEvent, Timeline},
    report::numbers::grouped,
};

/// A period or moment marked in the chart.
struct Mark {
    from: DateTime<Utc>,
    /// Absent for a moment.
    until: Option<DateTime<Utc>>,
    colour: RGBColor,
}

/// Renders the chart, for runs that sent something.
pub(super) fn section(data: &PageData) -> Markup {
    let Some(timeline) = &data.timeline else {
        return html! {};
    };
    let marks: Vec<Mark> = idle(&data.events)
        .chain(data.events.iter().filter_map(mark))
        .collect();
    let (per, unit) = unit(timeline);
    let end = end(timeline);
    let sentence = sentence(timeline, per, unit);
    let has = |colour| marks.iter().any(|mark| mark.colour == colour);
    html! {
        section aria-labelledby="throughput" {
            h2 #throughput { "Throughput" }
            p { (sentence) }
            figure {
                (chart::figure(&sentence, |area, room| draw(area, room, timeline, &marks, per)))
                figcaption {
                    "Tokens " (unit) " that Descope stored, in steps of " (seconds(f64::from(timeline.step_s)))
                    ", from " (timeline.from.format("%Y-%m-%d %H:%M:%S")) " to " (end.format("%Y-%m-%d %H:%M:%S")) " UTC. "
                    ul.legend {
                        (legend("committed", "stored"))
                        @if timeline.steps.iter().any(|step| step.refused > 0) { (legend("failed", "a batch was rejected or failed")) }
                        @if has(chart::HELD) { (legend("held", "the API asked to wait")) }
                        @if has(chart::PAUSED) { (legend("paused", "the run was paused")) }
                        @if has(chart::AWAY) { (legend("away", "a database did not respond")) }
                        @if has(chart::IDLE) { (legend("idle", "no process was running")) }
                        @if has(chart::PROCESS) { (legend("process", "a process resumed the run")) }
                    }
                }
            }
        }
    }
}

fn legend(class: &str, what: &str) -> Markup {
    html! { li { svg.swatch aria-hidden="true" { rect class=(class) width="100%" height="100%" {} } (what) } }
}

/// Returns the gaps between the end of one process and the start of the next. A killed process records no
/// end.
fn idle(events: &[RunEvent]) -> impl Iterator<Item = Mark> {
    let ends_and_begins = events
        .iter()
        .filter(|event| matches!(event.kind, Some(EventKind::Ended | EventKind::Resumed)));
    let pairs: Vec<_> = ends_and_begins.collect();
    let marks: Vec<_> = pairs
        .windows(2)
        .filter(|pair| pair[0].kind == Some(EventKind::Ended) && pair[1].kind == Some(EventKind::Resumed))
        .map(|pair| Mark {
            from: pair[0].at,
            until: Some(pair[1].at),
            colour: chart::IDLE,
        })
        .collect();
    marks.into_iter()
}

fn mark(event: &RunEvent) -> Option<Mark> {
    let (colour, until) = match event.kind? {
        EventKind::Held | EventKind::LookupsHeld => (chart::HELD, event.until),
        EventKind::SourceAway | EventKind::LedgerAway => (chart::AWAY, event.until),
        EventKind::Paused => (chart::PAUSED, event.until),
        EventKind::Resumed => (chart::PROCESS, None),
        EventKind::Started | EventKind::SizeLowered | EventKind::RateChanged | EventKind::Ended => {
            return None;
        }
    };
    Some(Mark {
        from: event.at,
        until,
        colour,
    })
}

fn end(timeline: &Timeline) -> DateTime<Utc> {
    let steps = i32::try_from(timeline.steps.len()).unwrap_or(i32::MAX);
    timeline.from + Duration::seconds(i64::from(timeline.step_s) * i64::from(steps))
}

/// Returns the factor and the unit: tokens per second for steps below 30 s, else per minute.
fn unit(timeline: &Timeline) -> (f64, &'static str) {
    if timeline.step_s < 30 {
        (1.0 / f64::from(timeline.step_s), "a second")
    } else {
        (60.0 / f64::from(timeline.step_s), "a minute")
    }
}

fn sentence(timeline: &Timeline, per: f64, unit: &str) -> String {
    let most = timeline.steps.iter().map(|step| step.tokens).max().unwrap_or(0);
    let idle = timeline.steps.iter().filter(|step| step.tokens == 0).count();
    let batches: i64 = timeline.steps.iter().map(|step| step.committed).sum();
    let refused: i64 = timeline.steps.iter().map(|step| step.refused).sum();
    let idle_s = f64::from(timeline.step_s) * idle as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a rate for people")]
    let most = (most as f64 * per).round() as i64;
    let idle = if idle > 0 && batches > 0 {
        format!(" Nothing arrived during {} of it.", seconds(idle_s))
    } else {
        String::new()
    };
    format!(
        "{} stored and {} rejected; at best {} {unit}.{idle}",
        count(batches, "batch was", "batches were"),
        grouped(refused),
        count(most, "token", "tokens"),
    )
}

fn draw(area: &Area<'_>, room: Room, timeline: &Timeline, marks: &[Mark], per: f64) -> Result<(), Undrawn> {
    let (from, end) = (timeline.from, end(timeline));
    let most = timeline.steps.iter().map(|step| step.tokens).max().unwrap_or(0) as f64 * per;
    let top = (most * 1.08).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(32)
        .x_label_area_size(26)
        .y_label_area_size(58)
        .build_cartesian_2d(from..end, 0.0..top)?;
    let whole_days = end - from > Duration::days(3);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(chart::GRID)
        .axis_style(chart::GRID)
        .label_style(chart::letters())
        // A label names a second or a minute: more of them than steps would repeat themselves.
        .x_labels(room.labels().min(timeline.steps.len() + 1))
        .y_labels(5)
        .x_label_formatter(&|at: &DateTime<Utc>| {
            let shape = if whole_days {
                "%b %d"
            } else if timeline.step_s < 30 {
                "%H:%M:%S"
            } else {
                "%H:%M"
            };
            at.format(shape).to_string()
        })
        .y_label_formatter(&|rate| label(*rate))
        .draw()?;
    // Periods lie behind the data. A moment in a long run stays visible.
    let least = (end - from) / if room == Room::Wide { 320 } else { 110 };
    for mark in marks.iter().filter(|mark| mark.until.is_some()) {
        let until = mark.until.unwrap_or(mark.from).max(mark.from + least);
        let corners = [(mark.from.clamp(from, end), 0.0), (until.clamp(from, end), top)];
        chart.draw_series([Rectangle::new(corners, mark.colour.mix(0.28).filled())])?;
    }
    let step = Duration::seconds(i64::from(timeline.step_s));
    let gap = step / 8;
    let mut begin = from;
    for step_of in &timeline.steps {
        let rate = step_of.tokens as f64 * per;
        if rate > 0.0 {
            let corners = [(begin, 0.0), (begin + step - gap, rate)];
            chart.draw_series([Rectangle::new(corners, chart::COMMITTED.filled())])?;
        }
        if step_of.refused > 0 {
            let corners = [(begin, 0.0), (begin + step - gap, top * 0.02)];
            chart.draw_series([Rectangle::new(corners, chart::REFUSED.filled())])?;
        }
        begin += step;
    }
    for mark in marks.iter().filter(|mark| mark.until.is_none()) {
        let at = mark.from.clamp(from, end);
        chart.draw_series([PathElement::new(
            [(at, 0.0), (at, top)],
            mark.colour.stroke_width(2),
        )])?;
    }
    Ok(())
}

/// Formats a rate: 12k for 12,000, but 1,500 in full.
fn label(rate: f64) -> String {
    if rate >= 999_500.0 {
        format!("{}M", rate / 1e6)
    } else if rate >= 10_000.0 {
        format!("{}k", rate / 1000.0)
    } else if rate >= 1000.0 {
        format!("{},{:03}", (rate / 1000.0).floor(), rate % 1000.0)
    } else {
        format!("{rate}")
    }
}
