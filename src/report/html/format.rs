//! Formatting of numbers, times and foreign text for the page.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{domain::visible, report::numbers::grouped};

/// Renders a point in time.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M:%S")) } }
}

/// Renders foreign text, with control characters escaped and text direction isolated.
pub(super) fn text(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// Renders foreign sentences as [`text`] does, with everything between two backticks as code.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    let is_paired = parts.len() % 2 == 1;
    html! {
        bdi {
            @if is_paired {
                @for (place, part) in parts.iter().enumerate() {
                    @if place % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
                }
            } @else {
                (visible(text))
            }
        }
    }
}

/// Renders optional foreign text.
pub(super) fn optional(text: Option<&str>) -> Markup {
    html! { @if let Some(shown) = text { (self::text(shown)) } }
}

/// Formats a count: 1,234 tokens, 1 token.
pub(super) fn count(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// Formats seconds with a sensible number of digits.
pub(super) fn seconds(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() / 10.0;
    if seconds < 0.0095 {
        format!("{:.1} ms", seconds * 1000.0)
    } else if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if tenths < 10.0 && tenths.fract() > 0.0 {
        format!("{tenths} s")
    } else if seconds < 59.5 {
        format!("{seconds:.0} s")
    } else {
        humantime::format_duration(crate::report::numbers::rounded(seconds)).to_string()
    }
}

/// Formats a percentage that is 100 only for the whole, and 0 only for nothing.
pub(super) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "–".to_owned();
    }
    let exact = part as f64 * 100.0 / whole as f64;
    let rounded = (exact * 10.0).round() / 10.0;
    match (part, rounded) {
        (part, _) if part == whole => "100\u{a0}%".to_owned(),
        (0, _) => "0\u{a0}%".to_owned(),
        (_, rounded) if rounded >= 100.0 => ">\u{a0}99.9\u{a0}%".to_owned(),
        (_, rounded) if rounded <= 0.0 => "<\u{a0}0.1\u{a0}%".to_owned(),
        (_, rounded) => format!("{rounded:.1}\u{a0}%"),
    }
}

/// Joins a list: "one, two and three".
pub(super) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_never_claim_too_much() {
        for (part, whole, expected) in [
            (0, 0, "–"),
            (0, 10, "0\u{a0}%"),
            (10, 10, "100\u{a0}%"),
            (9_999_999, 10_000_000, ">\u{a0}99.9\u{a0}%"),
            (1, 10_000_000, "<\u{a0}0.1\u{a0}%"),
            (998, 1000, "99.8\u{a0}%"),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
    }

    #[test]
    fn what_is_quoted_is_code_and_a_lone_backtick_is_itself() {
        let shown = |text| prose(text).into_string();
        assert_eq!(
            shown("set `a<b` and `c`."),
            "<bdi>set <code>a&lt;b</code> and <code>c</code>.</bdi>"
        );
        assert_eq!(shown("a ` b"), "<bdi>a ` b</bdi>");
    }

    #[test]
    fn seconds_have_the_figures_that_matter() {
        for (exact, expected) in [
            (0.0032, "3.2 ms"),
            (0.0421, "42 ms"),
            (0.9999, "1 s"),
            (2.0, "2 s"),
            (42.6, "43 s"),
            (2.34, "2.3 s"),
            (75.2, "1m 15s"),
        ] {
            assert_eq!(seconds(exact), expected);
        }
    }
}
