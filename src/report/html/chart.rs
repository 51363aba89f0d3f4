//! Charts, drawn by the plotting crate, and plain bars.
//!
//! The crate writes colours into its SVG; the style sheet replaces each by a variable for light and dark
//! mode. A chart is drawn twice, for wide and narrow windows, since its text scales with it.

use maud::{Markup, PreEscaped, html};
use plotters::{coord::Shift, prelude::*};

use super::format::percent;

/// The meaning of each colour. The style sheet has a rule for each.
pub(super) const COMMITTED: RGBColor = RGBColor(0x1B, 0x85, 0x53);
pub(super) const REFUSED: RGBColor = RGBColor(0xC0, 0x36, 0x2C);
pub(super) const HELD: RGBColor = RGBColor(0xC9, 0x8A, 0x00);
pub(super) const AWAY: RGBColor = RGBColor(0x7A, 0x4F, 0xBF);
pub(super) const PAUSED: RGBColor = RGBColor(0x12, 0x82, 0x8F);
pub(super) const PROCESS: RGBColor = RGBColor(0x2F, 0x5F, 0xD0);
pub(super) const IDLE: RGBColor = RGBColor(0xA3, 0xAB, 0xB7);
pub(super) const LABEL: RGBColor = RGBColor(0x5B, 0x64, 0x72);
pub(super) const GRID: RGBColor = RGBColor(0xE2, 0xE6, 0xEB);

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The error of a failed drawing.
pub(super) type Undrawn = DrawingAreaErrorKind<std::io::Error>;

/// The width of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Wide,
    Narrow,
}

impl Room {
    fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (1016, 270),
            Self::Narrow => (346, 230),
        }
    }

    /// Returns the number of labels that fit side by side.
    pub(super) fn labels(self) -> usize {
        match self {
            Self::Wide => 10,
            Self::Narrow => 4,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Wide => "chart wide",
            Self::Narrow => "chart narrow",
        }
    }
}

/// Draws a chart for both widths, with a sentence that describes it.
pub(super) fn figure(sentence: &str, draw: impl Fn(&Area<'_>, Room) -> Result<(), Undrawn>) -> Markup {
    html! {
        @for room in [Room::Wide, Room::Narrow] {
            (svg(sentence, room, &draw))
        }
    }
}

fn svg(sentence: &str, room: Room, draw: impl Fn(&Area<'_>, Room) -> Result<(), Undrawn>) -> Markup {
    let (width, height) = room.size();
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area, room).and_then(|()| area.present())
    };
    // The crate's own opening tag has no title, and a fixed size.
    let inner = text
        .split_once('>')
        .and_then(|(_, rest)| rest.trim_end().strip_suffix("</svg>"));
    html! {
        @match (drawn, inner) {
            (Ok(()), Some(inner)) => {
                svg class=(room.class()) viewBox={ "0 0 " (width) " " (height) } role="img" {
                    title { (sentence) }
                    (PreEscaped(inner))
                }
            }
            _ => p { (sentence) }
        }
    }
}

/// Returns the text style of a chart; the style sheet sets the colour.
pub(super) fn letters() -> TextStyle<'static> {
    // The crate writes size / 1.24 into the SVG.
    ("sans-serif", 15.0).into_font().color(&LABEL)
}

/// Draws a bar with parts in proportion to their numbers.
pub(super) fn stacked(parts: &[(&str, i64)], whole: i64, sentence: &str) -> Markup {
    let mut at = 0;
    let shares: Vec<_> = parts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|&(class, number)| {
            let from = at;
            at += number;
            (class, from, number)
        })
        .collect();
    html! {
        svg.bar role="img" aria-label={
            (sentence) @for (class, _, number) in &shares { ", " (class) " " (percent(*number, whole)) }
        } {
            @for (class, from, number) in &shares {
                rect class=(class) x=(share(*from, whole)) width=(share(*number, whole)) height="100%" {}
            }
        }
    }
}

fn share(part: i64, whole: i64) -> String {
    format!("{:.3}%", part as f64 * 100.0 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::document::STYLE;

    #[test]
    fn the_style_sheet_has_a_rule_for_every_colour() {
        for (colour, attribute) in [
            (COMMITTED, "fill"),
            (REFUSED, "fill"),
            (HELD, "fill"),
            (AWAY, "fill"),
            (IDLE, "fill"),
            (PROCESS, "stroke"),
            (LABEL, "fill"),
            (GRID, "stroke"),
        ] {
            let RGBColor(red, green, blue) = colour;
            let rule = format!("svg [{attribute}=\"#{red:02X}{green:02X}{blue:02X}\"]");
            assert!(STYLE.contains(&rule), "{rule}");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        let drawn = figure("So it went.", |_, _| Err(DrawingAreaErrorKind::LayoutError)).into_string();
        assert_eq!(drawn, "<p>So it went.</p><p>So it went.</p>");
    }

    #[test]
    fn a_bar_is_as_long_as_its_parts_and_says_so() {
        let bar = stacked(
            &[("committed", 3), ("failed", 1), ("superseded", 0)],
            4,
            "Of \"a\" & b",
        );
        let bar = bar.into_string();
        assert!(
            bar.contains(
                "aria-label=\"Of &quot;a&quot; &amp; b, committed 75.0\u{a0}%, failed 25.0\u{a0}%\""
            )
        );
        assert!(bar.contains("<rect class=\"failed\" x=\"75.000%\" width=\"25.000%\""));
        assert!(!bar.contains("superseded"));
    }
}
