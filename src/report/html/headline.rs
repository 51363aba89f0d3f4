//! The headline: the result of a run and its totals.

use maud::{Markup, html};

use super::{
    PageData,
    chart::stacked,
    format::{count, list, percent, prose, seconds},
};
use crate::{
    domain::{Mode, Summary, visible},
    report::{badge, numbers::grouped, unread::unread},
};

/// Renders title, status and a one-sentence result.
pub(super) fn header(data: &PageData) -> Markup {
    let summary = &data.run.summary;
    let badge = badge(&summary.status, summary.mode);
    html! {
        p.kind { (kind(summary.mode)) ", run " (summary.run_id) }
        h1 { (visible(&summary.migration)) " " span class={ "status " (badge.tone) } { (badge.words) } }
        p.sentence { (sentence(summary)) }
        @if let Some(reason) = &summary.stop_reason {
            p.reason { "Ended early: " (prose(reason)) }
        }
    }
}

fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::Migrate => "Migration of OAuth tokens into Descope",
        Mode::DryRun => "Dry run: nothing was sent",
        Mode::Verify => "Verification: tokens read back from Descope",
        Mode::Rollback => "Rollback: tokens deleted at Descope",
    }
}

/// Describes the result.
fn sentence(summary: &Summary) -> String {
    match summary.mode {
        Mode::Migrate => migrated(summary),
        Mode::DryRun => estimated(summary),
        Mode::Verify => verified(summary),
        Mode::Rollback => taken_back(summary),
    }
}

fn migrated(summary: &Summary) -> String {
    let tokens = &summary.tokens;
    if tokens.selected == 0 {
        return match summary.status.as_str() {
            "completed" => "There was nothing to do: no token was selected.".to_owned(),
            _ => "No token has an outcome yet.".to_owned(),
        };
    }
    let mut others = Vec::new();
    if tokens.unchanged > 0 {
        others.push(format!("{} there already", were(tokens.unchanged)));
    }
    if tokens.superseded > 0 {
        others.push(format!("{} left out for other tokens", were(tokens.superseded)));
    }
    others.push(match tokens.failed {
        0 => "none failed".to_owned(),
        failed if summary.acknowledged.is_empty() => format!("{} failed", grouped(failed)),
        failed => format!(
            "{} failed ({} of them acknowledged)",
            grouped(failed),
            grouped(summary.acknowledged_tokens())
        ),
    });
    let this_run = match summary.status.as_str() {
        "completed" | "completed_with_failures" => "This run",
        _ => "So far, this run",
    };
    let whole = unread(summary).unwrap_or_else(|| {
        let at_descope = tokens.committed + tokens.unchanged;
        let share = percent(at_descope, tokens.selected - tokens.superseded);
        let whole = if !summary.is_of_all {
            "the retried tokens"
        } else if tokens.superseded > 0 {
            "the others"
        } else {
            "all tokens"
        };
        format!("{share} of {whole} are at Descope.")
    });
    format!(
        "{this_run} uploaded {} of {}; {}. {whole}",
        grouped(tokens.committed),
        count(tokens.selected, "token", "tokens"),
        list(&others),
    )
}

fn were(number: i64) -> String {
    format!("{} {}", grouped(number), if number == 1 { "was" } else { "were" })
}

fn estimated(summary: &Summary) -> String {
    let tokens = &summary.tokens;
    let work = summary.estimate.map(|estimate| {
        format!(
            ", in {}{} and {} at the configured rate",
            if estimate.at_most { "at most " } else { "" },
            count(estimate.requests, "request", "requests"),
            seconds(estimate.duration_s)
        )
    });
    let rest = unread(summary);
    let left_out = match tokens.superseded {
        0 => String::new(),
        left_out => format!(" {} would be left out for other tokens.", grouped(left_out)),
    };
    let problems = match (tokens.failed, &rest) {
        (0, None) => "No problem was found.".to_owned(),
        (0, Some(_)) => "No problem was found in these.".to_owned(),
        (failed, _) => format!("{} would fail.", grouped(failed)),
    };
    let rest = rest.map_or_else(String::new, |rest| format!(" {rest}"));
    format!(
        "A run would upload {} of {}{}.{left_out} {problems}{rest}",
        grouped(tokens.committed),
        count(tokens.selected, "token", "tokens"),
        work.unwrap_or_default(),
    )
}

fn verified(summary: &Summary) -> String {
    let Some(found) = &summary.verify else {
        return String::new();
    };
    let wrong = found.different + found.missing;
    let checked = count(found.checked, "token was", "tokens were");
    let compared = match (found.checked, wrong) {
        (0, _) => "No token was compared.".to_owned(),
        (_, 0) => format!("{checked} read back and compared: all of them are as they should be."),
        (_, wrong) => format!(
            "{checked} read back and compared: {} as they should be, {} not.",
            grouped(found.checked - wrong),
            count(wrong, "is", "are")
        ),
    };
    if found.not_read == 0 {
        return compared;
    }
    format!(
        "{compared} {} not read, as the access token has expired and Descope would refresh it.",
        count(found.not_read, "token was", "tokens were")
    )
}

fn taken_back(summary: &Summary) -> String {
    let Some(found) = &summary.rollback else {
        return String::new();
    };
    let (deleted, stay) = if found.dry_run {
        ("would be deleted", "would stay")
    } else {
        ("deleted", "kept")
    };
    format!(
        "Of run {}: {} {deleted}, {} not there any more, {} {stay}.",
        found.of_run,
        count(found.removed, "token", "tokens"),
        grouped(found.gone),
        grouped(found.refused),
    )
}

/// One of the totals.
struct Figure {
    name: &'static str,
    number: i64,
    what: &'static str,
    /// The name of the colour; `None` if it is not part of the whole.
    colour: Option<&'static str>,
}

/// Renders the totals with a bar of their shares, and the work behind them.
pub(super) fn books(data: &PageData) -> Markup {
    let summary = &data.run.summary;
    let (whole, figures) = figures(summary);
    let parts: Vec<_> = figures
        .iter()
        .filter_map(|figure| Some((figure.colour?, figure.number)))
        .collect();
    html! {
        (stacked(&parts, whole, "How the tokens ended, as shares of the whole"))
        dl.figures {
            @for figure in &figures {
                @let colour = figure.colour.unwrap_or("plain");
                div class={ "figure " (colour) } {
                    dt { (figure.name) }
                    dd {
                        strong { (grouped(figure.number)) }
                        @if figure.colour.is_some() && whole > 0 { " " span.share { (percent(figure.number, whole)) } }
                        span.what { (figure.what) }
                    }
                }
            }
        }
        p.work { (work(data)) }
    }
}

fn figures(summary: &Summary) -> (i64, Vec<Figure>) {
    let figure = |name, number, what, colour| Figure {
        name,
        number,
        what,
        colour,
    };
    let tokens = &summary.tokens;
    if let Some(found) = &summary.rollback {
        let removed = if found.dry_run {
            "would be deleted"
        } else {
            "deleted"
        };
        let figures = vec![
            figure("removed", found.removed, removed, Some("committed")),
            figure("gone", found.gone, "not there any more", Some("unchanged")),
            figure("refused", found.refused, "kept", Some("failed")),
        ];
        return (found.tally().selected, figures);
    }
    let Some(found) = summary.verify.filter(|_| summary.mode == Mode::Verify) else {
        let (committed, failed) = if summary.mode == Mode::DryRun {
            ("would be uploaded", "would fail")
        } else {
            ("stored by Descope", "not stored")
        };
        let mut figures = vec![
            figure("selected", tokens.selected, "rows read from the source", None),
            figure("committed", tokens.committed, committed, Some("committed")),
            figure(
                "unchanged",
                tokens.unchanged,
                "already there and unchanged",
                Some("unchanged"),
            ),
            figure(
                "superseded",
                tokens.superseded,
                "left out for other tokens",
                Some("superseded"),
            ),
            figure("failed", tokens.failed, failed, Some("failed")),
        ];
        if let Some(estimate) = summary.estimate.filter(|estimate| estimate.fetches > 0) {
            figures.push(figure("to be fetched", estimate.fetches, "from Descope", None));
        }
        return (tokens.selected, figures);
    };
    let uncompared = found.changed_in_source + found.gone_from_source + found.inconclusive + found.not_read;
    let mut figures = vec![
        figure("equal", found.equal, "as they were sent", Some("committed")),
        figure(
            "refreshed",
            found.refreshed,
            "refreshed by Descope since",
            Some("unchanged"),
        ),
        figure("different", found.different, "something differs", Some("failed")),
        figure("missing", found.missing, "not at Descope", Some("failed")),
        figure(
            "not compared",
            uncompared,
            "changed or gone since, not shown, or not read",
            Some("superseded"),
        ),
    ];
    if let Some(rest) = found.not_uploaded {
        figures.push(figure("not uploaded", rest, "other rows of the source", None));
    }
    (found.checked + uncompared, figures)
}

/// Describes requests and time.
fn work(data: &PageData) -> String {
    let summary = &data.run.summary;
    let mut parts = Vec::new();
    if let Some(estimate) = &summary.estimate {
        parts.push(format!(
            "{}{} of {} in all, expected to take {} at the configured rate",
            if estimate.at_most { "at most " } else { "" },
            count(estimate.batches, "batch", "batches"),
            bytesize::ByteSize::b(estimate.bytes.unsigned_abs()),
            seconds(estimate.duration_s),
        ));
        if estimate.single_requests > 0 {
            parts.push(format!(
                "{} of one token each",
                count(estimate.single_requests, "request", "requests")
            ));
        }
    }
    if summary.mode != Mode::DryRun {
        parts.push(format!(
            "{} ({} of them repeated, {} answered with 429)",
            count(summary.counters.requests, "request", "requests"),
            grouped(summary.counters.retries),
            grouped(summary.counters.rate_limited)
        ));
    }
    if summary.counters.lookups > 0 {
        parts.push(count(summary.counters.lookups, "lookup", "lookups"));
    }
    if summary.mode == Mode::Migrate {
        parts.push(format!(
            "{} stored, {} rejected",
            count(summary.batches.committed, "batch", "batches"),
            grouped(summary.batches.failed)
        ));
    }
    if summary.batches_in_flight > 0 {
        parts.push(format!(
            "{} in flight",
            count(summary.batches_in_flight, "batch", "batches")
        ));
    }
    let mut time = vec![format!("{} of work", seconds(summary.counters.active_seconds))];
    if summary.mode == Mode::Migrate && summary.counters.active_seconds > 0.0 {
        let pace = summary.tokens.committed as f64 * 60.0 / summary.counters.active_seconds;
        #[expect(clippy::cast_possible_truncation, reason = "a rate for people")]
        let pace = pace.round() as i64;
        time.push(format!("{} a minute", count(pace, "token", "tokens")));
    }
    parts.push(time.join(", "));
    parts.join(" · ")
}
