//! The summary of a rollback as text.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    after_an_early_end,
    numbers::{counted, grouped, rounded},
};
use crate::domain::{Rollback, Summary};

pub(super) fn headline(summary: &Summary) -> Cow<'_, str> {
    let is_dry = summary.rollback.is_some_and(|found| found.dry_run);
    let headline = match (summary.status.as_str(), is_dry) {
        ("completed", _) if summary.tokens.selected == 0 => "completed, that run has no tokens",
        ("completed", false) => "completed, no token of that run is left",
        ("completed", true) => "completed, every token can be deleted; nothing was deleted",
        ("completed_with_failures", false) => "completed, some tokens were kept",
        ("completed_with_failures", true) => "completed, some tokens would be kept; nothing was deleted",
        (early @ ("interrupted" | "stopped"), false) => {
            return format!("{early}; {}", after_an_early_end(summary.mode, None)).into();
        }
        (other, _) => other,
    };
    headline.into()
}

/// Writes the counts and the work. Writing to a string cannot fail.
pub(super) fn write(text: &mut String, summary: &Summary, found: &Rollback) {
    let (removed, refused) = if found.dry_run {
        ("would be deleted", "would be kept; reasons below")
    } else {
        (
            "deleted; the next `tokenferry migrate` sends them again",
            "kept; reasons below",
        )
    };
    let _ = writeln!(text, "  tokens of run {}", found.of_run);
    for (name, count, what) in [
        ("removed", found.removed, removed),
        ("gone", found.gone, "not there any more"),
        ("refused", found.refused, refused),
    ] {
        if count > 0 || name == "removed" {
            let _ = writeln!(text, "  {name:<12}{:>11}   {what}", grouped(count));
        }
    }
    let _ = writeln!(
        text,
        "  {} ({} rate limited), {}",
        counted(summary.counters.requests, "request", "requests"),
        counted(summary.counters.rate_limited, "time", "times"),
        humantime::format_duration(rounded(summary.counters.active_seconds)),
    );
}
