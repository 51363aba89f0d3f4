//! The comparison with the run before: counts, and failures by code.

use std::{cmp::Ordering, collections::BTreeSet};

use maud::{Markup, html};

use super::{
    PageData,
    format::{text, time},
    table::{column, number, table},
};
use crate::{
    domain::{Mode, Tally},
    ledger::FailuresByCode,
    report::{badge, numbers::grouped},
};

/// Renders the section, if there is a run to compare with.
pub(super) fn section(data: &PageData) -> Markup {
    let Some(before) = &data.previous else {
        return html! {};
    };
    let summary = &data.run.summary;
    let name = if summary.mode == Mode::DryRun {
        "dry run"
    } else {
        "run"
    };
    let counts = counts(&before.tokens, &summary.tokens);
    html! {
        section aria-labelledby="before" {
            h2 #before { "Since the " (name) " before" }
            p {
                "Compared with " (name) " " (before.id) " of " (time(before.started_at)) " ("
                (badge(&before.status, summary.mode).words) ")."
            }
            (table("before", &[column("Tokens"), number("Before"), number("Now"), number("Change")], false,
                counts.into_iter().map(|(name, then, now)| {
                    vec![html! { (name) }, html! { (grouped(then)) }, html! { (grouped(now)) }, html! { (change(then, now)) }]
                })))
            h3 #before-codes { "Failures by code" }
            @match &before.failures {
                None => p.note { "One of the two has not recorded them: it is from an earlier version, or was not ended." },
                Some((then, now)) if then.is_empty() && now.is_empty() => p { "None in either." },
                Some((then, now)) => (by_code(then, now)),
            }
        }
    }
}

fn counts(then: &Tally, now: &Tally) -> [(&'static str, i64, i64); 5] {
    [
        ("selected", then.selected, now.selected),
        ("committed", then.committed, now.committed),
        ("unchanged", then.unchanged, now.unchanged),
        ("superseded", then.superseded, now.superseded),
        ("failed", then.failed, now.failed),
    ]
}

fn by_code(then: &FailuresByCode, now: &FailuresByCode) -> Markup {
    let codes: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let rows = codes.into_iter().map(|code| {
        let (then, now) = (count(then, code), count(now, code));
        let (word, tone) = verdict(then, now);
        vec![
            html! { code { (text(code)) } },
            html! { span class={ "badge " (tone) } { (word) } },
            html! { (grouped(then)) },
            html! { (grouped(now)) },
            html! { (change(then, now)) },
        ]
    });
    let columns = [
        column("Code"),
        column("Result"),
        number("Before"),
        number("Now"),
        number("Change"),
    ];
    table("before-codes", &columns, false, rows)
}

fn count(counts: &FailuresByCode, code: &str) -> i64 {
    counts.get(code).copied().unwrap_or_default()
}

fn verdict(then: i64, now: i64) -> (&'static str, &'static str) {
    match (then, now, now.cmp(&then)) {
        (0, _, _) => ("new", "bad"),
        (_, 0, _) => ("gone", "good"),
        (_, _, Ordering::Equal) => ("unchanged", "plain"),
        (_, _, Ordering::Less) => ("fewer", "good"),
        (_, _, Ordering::Greater) => ("more", "bad"),
    }
}

/// Formats a difference: +3, −1,000, or 0.
fn change(then: i64, now: i64) -> String {
    match now - then {
        0 => "0".to_owned(),
        more if more > 0 => format!("+{}", grouped(more)),
        fewer => format!("−{}", grouped(-fewer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_new_gone_or_something_between() {
        for (then, now, word, difference) in [
            (0, 3, "new", "+3"),
            (3, 0, "gone", "−3"),
            (2, 2, "unchanged", "0"),
            (1002, 2, "fewer", "−1,000"),
            (2, 4, "more", "+2"),
        ] {
            assert_eq!(
                (verdict(then, now).0, change(then, now).as_str()),
                (word, difference)
            );
        }
    }
}
