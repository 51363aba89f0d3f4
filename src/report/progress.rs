//! How a run comes along: a bar on a terminal, a line in the log elsewhere.

use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tracing::info;

use crate::{
    config::RateLimit,
    model::{Mode, RunId, RunStatus, Tally},
};

/// What whoever watches a run is told, a few times a second.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The run, once there is one.
    pub run_id: Option<RunId>,
    /// What the run does.
    pub mode: Mode,
    /// The books, pages included that are still being worked on.
    pub tally: Tally,
    /// Rows the source is expected to have, where its planner has an idea.
    pub expected: Option<u64>,
    /// Requests so far, those of earlier processes included.
    pub requests: i64,
    /// Batches in flight.
    pub in_flight: i64,
    /// How long the API asked us to wait, from now.
    pub held_for: Duration,
    /// Whether somebody holds the run back.
    pub paused: bool,
    /// The rate somebody asked for in place of the configured one.
    pub slowed_to: Option<RateLimit>,
    /// When a run of this kind last came to the end of its rows.
    pub last_success: Option<DateTime<Utc>>,
    /// How the run ended, once it has.
    pub ended: Option<RunStatus>,
}

impl View {
    /// The run has ended so, with these books, and sent so much.
    pub fn end(&mut self, status: RunStatus, tally: Tally, requests: i64) {
        self.ended = Some(status);
        self.tally = tally;
        self.requests = requests;
        self.in_flight = 0;
        self.held_for = Duration::ZERO;
        if matches!(status, RunStatus::Completed | RunStatus::CompletedWithFailures) {
            self.last_success = Some(Utc::now());
        }
    }
}

/// How often a log is told, where there is no bar.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Shows the view until its sender is gone. With `bars`, as a bar above everything that is logged through the same
/// [`MultiProgress`]; without, as a log line now and then.
pub async fn show_progress(mut view: watch::Receiver<View>, bars: Option<MultiProgress>) {
    match bars {
        Some(bars) => bar(&mut view, &bars).await,
        None => lines(&mut view).await,
    }
}

async fn bar(view: &mut watch::Receiver<View>, bars: &MultiProgress) {
    let bar = bars.add(ProgressBar::new_spinner());
    let without_length = "{spinner} {human_pos} tokens, {per_sec}  {msg}";
    let with_length = "{spinner} {human_pos}/{human_len} tokens [{wide_bar}] {per_sec}, {eta} left  {msg}";
    let style = |template: &str| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    bar.set_style(style(without_length));
    let mut shown_length = None;
    while view.changed().await.is_ok() {
        let now = view.borrow_and_update().clone();
        let settled = now.tally.settled().unsigned_abs();
        // The planner's guess may be too low; a bar beyond its end would say nothing.
        let length = now
            .expected
            .map(|expected| expected.max(now.tally.selected.unsigned_abs()));
        if let Some(length) = length {
            if shown_length.is_none() {
                bar.set_style(style(with_length));
                // What earlier processes did is no pace of this one.
                bar.reset_eta();
            }
            bar.set_length(length);
            shown_length = Some(length);
        }
        bar.set_position(settled);
        bar.set_message(message(&now));
    }
    bar.finish_and_clear();
}

fn message(now: &View) -> String {
    let failed = now.tally.failed;
    let failed = if failed > 0 {
        let what = match now.mode {
            Mode::Verify => "differ",
            Mode::Rollback => "stay",
            Mode::Migrate | Mode::DryRun => "failed",
        };
        format!("{failed} {what}, ")
    } else {
        String::new()
    };
    let slowed = now.slowed_to.map_or_else(String::new, |rate| {
        format!(
            ", slowed to {} requests per {}",
            rate.requests,
            humantime::format_duration(rate.per)
        )
    });
    if now.mode == Mode::DryRun {
        format!("{failed}dry run: nothing is sent")
    } else if now.paused {
        format!("{failed}paused on the live page, {} in flight", now.in_flight)
    } else if now.held_for.is_zero() {
        match now.mode {
            Mode::Verify => format!("{failed}reading back{slowed}"),
            Mode::Rollback => format!("{failed}reading back and deleting{slowed}"),
            _ => format!("{failed}{} in flight{slowed}", now.in_flight),
        }
    } else {
        format!(
            "{failed}waiting {} s: the API asked for it",
            now.held_for.as_secs() + 1
        )
    }
}

async fn lines(view: &mut watch::Receiver<View>) {
    let mut next = interval(LOG_EVERY);
    next.tick().await;
    let begin = Instant::now();
    loop {
        tokio::select! {
            _ = next.tick() => {
                let now = view.borrow().clone();
                let settled = now.tally.settled();
                info!(
                    settled,
                    failed = now.tally.failed,
                    expected = now.expected,
                    requests = now.requests,
                    elapsed_s = begin.elapsed().as_secs(),
                    "progress"
                );
            }
            changed = view.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
