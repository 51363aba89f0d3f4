//! Progress: publishes snapshots of a run.

use std::{convert::Infallible, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    config::RateLimit,
    domain::{EventKind, EventLog},
    rate::{Pacer, RunControl},
    report::{Quota, View},
};

/// The interval between snapshots, and the shortest one between writes of the cursor.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Returns the quota for display.
pub(super) fn quota(limit: RateLimit) -> Quota {
    Quota {
        requests: limit.requests,
        per: limit.per,
        spacing: Pacer::time_for(limit, i64::from(limit.burst) + 1),
    }
}

/// Publishes snapshots continuously, and records pauses in the event log. `allowed` gives the rate that the
/// API allows.
pub(super) async fn show(
    control: &RunControl,
    event_log: &EventLog,
    view: &watch::Sender<View>,
    allowed: impl Fn() -> RateLimit,
    renew: impl Fn(&mut View),
) -> Infallible {
    let mut looked = Instant::now();
    loop {
        let paused = control.throttle.pace().paused;
        let now = Instant::now();
        if paused {
            // Consecutive spans of one pause are merged, since they touch.
            event_log.record_span(EventKind::Paused, looked, now);
        }
        looked = now;
        view.send_modify(|view| {
            renew(view);
            view.paused = paused;
            view.slowed_to = control.throttle.slowed_to();
            let allowed = allowed();
            let slower = view.slowed_to.filter(|slowed| slowed.requests < allowed.requests);
            view.quota = view.quota.map(|_| quota(slower.unwrap_or(allowed)));
        });
        sleep(TICK).await;
    }
}
