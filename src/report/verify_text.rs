//! The summary of a verification as text.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    after_an_early_end,
    numbers::{counted, grouped, rounded},
};
use crate::domain::{Summary, Verification};

pub(super) fn headline(summary: &Summary) -> Cow<'_, str> {
    let not_read = summary.verify.map_or(0, |found| found.not_read);
    let headline = match summary.status.as_str() {
        "completed" if summary.tokens.selected == 0 => "completed, there is nothing to read back",
        "completed" if not_read > 0 => {
            "completed, no difference found in the tokens that were read; some were not read"
        }
        "completed" => "completed, no difference found",
        "completed_with_failures" => "completed, differences found",
        early @ ("interrupted" | "stopped") => {
            return format!("{early}; {}", after_an_early_end(summary.mode, None)).into();
        }
        other => other,
    };
    headline.into()
}

/// Writes the counts and the work. Writing to a string cannot fail.
pub(super) fn write(text: &mut String, summary: &Summary, found: &Verification) {
    if let (Some(sample), Some(seed)) = (found.sample, found.seed) {
        let _ = writeln!(
            text,
            "  a sample: `--sample {sample} --seed {seed}` draws it again"
        );
    }
    let rows = [
        ("checked", Some(found.checked), "tokens compared with Descope"),
        ("equal", Some(found.equal), "as they were sent"),
        ("refreshed", Some(found.refreshed), "refreshed by Descope since"),
        (
            "in part",
            Some(found.in_part),
            "compared except for the token itself, which was fetched and is not in the source",
        ),
        ("different", Some(found.different), "something differs"),
        ("missing", Some(found.missing), "not at Descope"),
        (
            "changed",
            Some(found.changed_in_source),
            "not compared: the row has changed since; `tokenferry migrate` sends it again",
        ),
        (
            "gone",
            Some(found.gone_from_source),
            "not compared: the row is no longer in the source",
        ),
        (
            "inconclusive",
            Some(found.inconclusive),
            "not compared: Descope does not show this token",
        ),
        (
            "not read",
            Some(found.not_read),
            "not compared: the access token has expired; with `--include-expired` it is read, and Descope refreshes it",
        ),
        (
            "not uploaded",
            found.not_uploaded,
            "other rows of the source: failed, superseded or not sent yet",
        ),
    ];
    for (name, count, what) in rows {
        if let Some(count) = count.filter(|count| *count > 0 || matches!(name, "checked" | "equal")) {
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
