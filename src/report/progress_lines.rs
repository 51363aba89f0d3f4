//! Progress lines for a given width. Pure: the caller passes the width.

use std::time::Duration;

use console::{Style, measure_text_width, truncate_str};

use super::{Eta, View, numbers::grouped};
use crate::domain::{Mode, Phase, visible};

/// The range of bar lengths.
const BAR: std::ops::RangeInclusive<usize> = 10..=40;

/// The most failure codes that are named.
const MOST_CODES: usize = 3;

/// The most lines of further facts.
const MOST_FACTS: usize = 3;

/// The width of the lines, and whether they may have colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) colour: bool,
}

/// Formats the lines within the width. `elapsed` is the time since the start.
pub(super) fn lines(view: &View, pace: &Eta, elapsed: Duration, layout: Layout) -> Vec<String> {
    let mut lines = vec![first(view, elapsed, layout.width)];
    lines.extend(
        pack(&facts(view, pace), layout.width)
            .into_iter()
            .take(MOST_FACTS),
    );
    let alarms = [
        (failures(view, layout.width), Style::new().red()),
        (waiting(view), Style::new().yellow()),
        (steered(view), Style::new().yellow()),
    ];
    for (line, style) in alarms {
        let line = line.map(|line| truncate_str(&line, layout.width, "..").into_owned());
        lines.extend(line.map(|line| style.force_styling(layout.colour).apply_to(line).to_string()));
    }
    lines
}

/// Formats the phase and the progress, with a bar if there is room.
fn first(view: &View, elapsed: Duration, width: usize) -> String {
    let phase = view.phase.words(view.mode);
    if !view.phase.is_working() {
        return truncate_str(&format!("{phase}, {}", short(elapsed)), width, "..").into_owned();
    }
    if let Some(canary) = view.canary.filter(|_| view.phase == Phase::Canary) {
        let line = format!(
            "{phase}  {} of {} tokens, one by one; the rest waits",
            canary.settled, canary.tokens
        );
        return truncate_str(&line, width, "..").into_owned();
    }
    let settled = view.tally.settled();
    let Some(expected) = view.expected.filter(|expected| *expected > 0) else {
        return truncate_str(&format!("{phase}  {} tokens", grouped(settled)), width, "..").into_owned();
    };
    // The planner's estimate may be too low; the bar must not exceed its end.
    let expected = expected.max(view.tally.selected.unsigned_abs());
    let share = (settled.unsigned_abs() as f64 / expected as f64).clamp(0.0, 1.0);
    let percent = format!("{:>3}%", (share * 100.0).floor());
    let count = format!(
        "{} of {}",
        grouped(settled),
        grouped(i64::try_from(expected).unwrap_or(i64::MAX))
    );
    let with_unit = format!("{count} tokens");
    for count in [with_unit, count] {
        let around = phase.len() + percent.len() + count.len() + "  [] ".len() + "  ".len();
        let room = width.saturating_sub(around).min(*BAR.end());
        if room >= *BAR.start() {
            return format!("{phase}  [{}] {percent}  {count}", bar(share, room));
        }
    }
    truncate_str(&format!("{phase} {}", percent.trim_start()), width, "..").into_owned()
}

fn bar(share: f64, width: usize) -> String {
    // A share is between 0 and 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let done = (share * width as f64) as usize;
    let mut bar = "=".repeat(done.min(width));
    if done < width {
        bar.push('>');
    }
    format!("{bar:<width$}")
}

/// Lists further facts, the most important first.
fn facts(view: &View, pace: &Eta) -> Vec<String> {
    let mut facts = Vec::new();
    if !view.phase.is_working() {
        return facts;
    }
    if let Some(left) = pace.left(view) {
        facts.push(format!("{} left", short(left)));
    }
    if let Some(now) = pace.now() {
        facts.push(format!("{}/s now", rate(now)));
    }
    if let Some(average) = pace.average() {
        facts.push(format!("{}/s on average", rate(average)));
    }
    if let Some((used, most, per)) = pace.quota_used() {
        let count = |count| grouped(i64::try_from(count).unwrap_or(i64::MAX));
        facts.push(format!("quota {}/{} in {}", count(used), count(most), short(per)));
    }
    match view.mode {
        Mode::DryRun => facts.push("nothing is sent".to_owned()),
        Mode::Migrate => facts.push(format!("{} in flight", view.in_flight)),
        Mode::Verify | Mode::Rollback => {}
    }
    facts
}

/// Packs the facts into as few lines as possible.
fn pack(facts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + fact.len() + 2 <= width => {
                line.push_str(", ");
                line.push_str(fact);
            }
            _ => lines.push(truncate_str(fact, width, "..").into_owned()),
        }
    }
    lines
}

/// Formats the number of failures, and the most frequent codes that fit.
fn failures(view: &View, width: usize) -> Option<String> {
    if view.tally.failed == 0 {
        return None;
    }
    let word = match view.mode {
        Mode::Migrate => "failed",
        Mode::DryRun => "would fail",
        Mode::Verify => "differ",
        Mode::Rollback => "stay",
    };
    let all = format!("{} {word}", grouped(view.tally.failed));
    let mut codes: Vec<_> = view.failures.iter().collect();
    codes.sort_by_key(|(code, count)| (-count, code.as_str()));
    let named = |most: usize| {
        let named = codes.iter().take(most);
        let mut named: Vec<String> = named
            .map(|(code, count)| format!("{} {}", grouped(*count), visible(code)))
            .collect();
        // Other codes, and tokens that an earlier process of the run counted: the numbers add up.
        let told: i64 = codes.iter().take(most).map(|(_, count)| count).sum();
        match view.tally.failed - told {
            ..=0 => {}
            1 => named.push("1 other".to_owned()),
            more => named.push(format!("{} others", grouped(more))),
        }
        format!("{all}: {}", named.join(", "))
    };
    let fitting = (1..=MOST_CODES.min(codes.len()))
        .rev()
        .map(named)
        .find(|line| line.len() <= width);
    Some(fitting.unwrap_or(all))
}

fn waiting(view: &View) -> Option<String> {
    (!view.held_for.is_zero()).then(|| {
        let seconds = view.held_for.as_millis().div_ceil(1000);
        format!("waiting {seconds} s: the API asked for it")
    })
}

/// Describes the controls in effect on the live page.
fn steered(view: &View) -> Option<String> {
    if view.paused {
        return Some("paused on the live page".to_owned());
    }
    view.slowed_to.map(|rate| {
        let requests = grouped(rate.requests.into());
        format!(
            "slowed to {requests} requests in {} on the live page",
            short(rate.per)
        )
    })
}

/// Formats a rate with a useful precision.
fn rate(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        // A rate is far from the limits of this type.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let whole = rate.round() as i64;
        grouped(whole)
    }
}

/// Formats a duration with at most two units.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) if seconds.is_multiple_of(60) => format!("{minutes}m"),
        (0, 0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Tally,
        report::{CanaryCount, Quota},
    };

    /// Builds a run under a quota that has worked for five minutes, with failures and a wait.
    fn troubled() -> (View, Eta) {
        let mut view = View {
            phase: Phase::Sending,
            expected: Some(1_250_000),
            in_flight: 4,
            quota: Some(Quota {
                requests: 100,
                per: Duration::from_secs(60),
                spacing: Duration::from_millis(609),
            }),
            ..View::default()
        };
        let mut pace = Eta::default();
        for second in 0..=300 {
            view.tally = Tally {
                selected: 60_000,
                committed: second * 160,
                ..Tally::default()
            };
            view.requests = second * 16 / 10;
            pace.look(Duration::from_secs(second.unsigned_abs()), &view);
        }
        view.tally.failed = 1_212;
        view.held_for = Duration::from_millis(42_100);
        view.failures = [
            ("E112102", 800),
            ("not_decryptable", 400),
            ("outcome_unknown", 10),
            ("http_500", 1),
            ("E1", 1),
        ]
        .map(|(code, count)| (code.to_owned(), count))
        .into();
        (view, pace)
    }

    fn on(width: usize) -> Vec<String> {
        let (view, pace) = troubled();
        let layout = Layout { width, colour: false };
        lines(&view, &pace, Duration::from_secs(300), layout)
    }

    #[test]
    fn eighty_columns_hold_all_of_it() {
        assert_eq!(
            on(79),
            [
                "sending  [=>                                 ]   3%  49,212 of 1,250,000 tokens",
                "2h 05m left, 160/s now, 160/s on average, quota 96/100 in 1m, 4 in flight",
                "1,212 failed: 800 E112102, 400 not_decryptable, 10 outcome_unknown, 2 others",
                "waiting 43 s: the API asked for it",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_paper_and_there_are_never_many() {
        for width in 2..200 {
            let lines = on(width);
            assert!(lines.len() <= 6, "{width}: {lines:#?}");
            for line in lines {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn narrow_paper_has_the_same_on_more_lines() {
        assert_eq!(
            on(49),
            [
                "sending  [>           ]   3%  49,212 of 1,250,000",
                "2h 05m left, 160/s now, 160/s on average",
                "quota 96/100 in 1m, 4 in flight",
                "1,212 failed: 800 E112102, 412 others",
                "waiting 43 s: the API asked for it",
            ]
        );
        assert_eq!(on(24)[0], "sending 3%");
    }

    #[test]
    fn colours_are_there_only_where_they_are_wanted() {
        let (view, pace) = troubled();
        let on = |colour| lines(&view, &pace, Duration::ZERO, Layout { width: 79, colour }).join("\n");
        assert!(!on(false).contains('\u{1b}'));
        assert!(on(true).contains("\u{1b}[33mwaiting 43 s"));
    }

    #[test]
    fn before_the_work_begins_it_says_what_it_is_at_and_since_when() {
        let view = View {
            phase: Phase::Outdated,
            expected: Some(10),
            ..View::default()
        };
        let layout = Layout {
            width: 79,
            colour: false,
        };
        let lines = lines(&view, &Eta::default(), Duration::from_secs(75), layout);
        assert_eq!(lines, ["looking for outdated rows, 1m 15s"]);
    }

    #[test]
    fn a_canary_counts_its_own_tokens() {
        let view = View {
            phase: Phase::Canary,
            expected: Some(300_000),
            canary: Some(CanaryCount {
                settled: 1,
                tokens: 5,
            }),
            ..View::default()
        };
        let layout = Layout {
            width: 79,
            colour: false,
        };
        let lines = lines(&view, &Eta::default(), Duration::from_secs(9), layout);
        assert_eq!(lines[0], "canary  1 of 5 tokens, one by one; the rest waits");
        assert!(!lines.join("").contains("left"), "{lines:?}");
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, said) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (194, "3m 14s"),
            (3600, "1h 00m"),
            (90_061, "1d 01h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), said);
        }
    }
}
