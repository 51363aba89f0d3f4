//! Progress output: lines on a terminal, or log events elsewhere.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until},
};
use tracing::info;

use super::{
    Eta, LiveArea, View,
    progress_lines::{Layout, lines},
};

/// The interval between redraws, which are also the samples.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The first log event; the interval then doubles each time.
const LOG_FIRST: Duration = Duration::from_secs(30);

/// The longest interval between log events.
const LOG_AT_LEAST: Duration = Duration::from_secs(900);

/// Shows the view until its sender is dropped: in `live_area`, or as occasional log events without one.
pub async fn show_progress(mut view: watch::Receiver<View>, live_area: Option<LiveArea>) {
    let begin = Instant::now();
    let mut pace = Eta::default();
    let mut tick = interval(DRAW_EVERY);
    let mut log_after = LOG_FIRST;
    let mut log_at = begin + log_after;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = view.borrow().clone();
                pace.look(begin.elapsed(), &now);
                if let Some(live_area) = &live_area {
                    let colour = live_area.colour();
                    live_area.draw(|width| lines(&now, &pace, begin.elapsed(), Layout { width, colour }));
                }
            }
            () = sleep_until(log_at), if live_area.is_none() => {
                log(&view.borrow().clone(), &pace, begin.elapsed());
                log_after = (log_after * 2).min(LOG_AT_LEAST);
                log_at += log_after;
            }
            changed = view.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    if let Some(live_area) = live_area {
        live_area.clear();
    }
}

fn log(view: &View, pace: &Eta, elapsed: Duration) {
    // Unknown values are left out.
    let rounded = |rate: f64| (rate * 10.0).round() / 10.0;
    info!(
        run_id = view.run_id,
        phase = view.phase.as_str(),
        selected = view.tally.selected,
        settled = view.tally.settled(),
        failed = view.tally.failed,
        expected = view.expected,
        requests = view.requests,
        tokens_per_s = pace.now().map(rounded),
        tokens_per_s_average = pace.average().map(rounded),
        quota_used = pace.quota_used().map(|(used, ..)| used),
        held_s = view.held_for.as_secs(),
        left_s = pace.left(view).map(|left| left.as_secs()),
        elapsed_s = elapsed.as_secs(),
        "progress"
    );
}
