//! The latency section: the time that batches took.

use maud::{Markup, html};
use plotters::prelude::*;

use super::{
    PageData,
    chart::{self, Area, Room, Undrawn},
    format::{count, seconds},
};
use crate::{
    ledger::{LATENCY_BOUNDS, Latency},
    report::numbers::grouped,
};

/// Renders the chart and the percentiles.
pub(super) fn section(data: &PageData) -> Markup {
    let Some(latency) = &data.latency else {
        return html! {};
    };
    let sentence = format!(
        "Half of the batches took no longer than {}, 95 of 100 no longer than {}.",
        seconds(latency.median),
        seconds(latency.p95)
    );
    html! {
        section aria-labelledby="latency" {
            h2 #latency { "How long a batch took" }
            p { (sentence) }
            figure {
                (chart::figure(&sentence, |area, room| draw(area, room, latency)))
                figcaption {
                    "Batches by the time from recording the last attempt to recording its outcome: the request, and writing \
                     the outcome into the ledger. Waiting for the quota is not included. Of "
                    (count(latency.batches, "batch", "batches"))
                    " that the API answered; reconciled batches are left out."
                }
            }
            dl.figures.small {
                @for (name, value) in [("median", latency.median), ("95 %", latency.p95), ("99 %", latency.p99), ("longest", latency.longest)] {
                    div.figure.plain { dt { (name) } dd { strong { (seconds(value)) } } }
                }
            }
        }
    }
}

fn draw(area: &Area<'_>, room: Room, latency: &Latency) -> Result<(), Undrawn> {
    let counts = &latency.counts;
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    // An empty place on either side makes a single bar readable.
    let (first, last) = (first.saturating_sub(1), (last + 1).min(counts.len() - 1));
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(area)
        .margin_top(22)
        .margin_right(12)
        .x_label_area_size(26)
        .y_label_area_size(58)
        .build_cartesian_2d((first..last).into_segmented(), 0..most)?;
    let every = (last - first + 1).div_ceil(room.labels());
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(chart::GRID)
        .axis_style(chart::GRID)
        .label_style(chart::letters())
        .x_labels(counts.len() + 1)
        .y_labels(5)
        .x_label_formatter(&|place| match place {
            SegmentValue::CenterOf(place) if (place - first).is_multiple_of(every) => bound(*place),
            _ => String::new(),
        })
        .y_label_formatter(&|count| grouped(*count))
        .draw()?;
    for (place, &count) in counts.iter().enumerate().take(last + 1).skip(first) {
        if count > 0 {
            let corners = [
                (SegmentValue::Exact(place), 0),
                (SegmentValue::Exact(place + 1), count),
            ];
            let mut bar = Rectangle::new(corners, chart::COMMITTED.filled());
            bar.set_margin(0, 0, 3, 3);
            chart.draw_series([bar])?;
        }
    }
    Ok(())
}

/// Returns the label of a bar.
fn bound(place: usize) -> String {
    match LATENCY_BOUNDS.get(place) {
        Some(bound) if *bound < 1.0 => format!("≤ {:.0} ms", bound * 1000.0),
        Some(bound) => format!("≤ {bound:.0} s"),
        None => "longer".to_owned(),
    }
}
