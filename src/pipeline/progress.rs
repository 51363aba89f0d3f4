//! Publishes progress snapshots.

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

/// How often the view is renewed, and how often at most the cursor is written.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// What requests pay, for whoever shows it.
pub(super) fn quota(limit: RateLimit) -> Quota {
    Quota {
        requests: limit.requests,
        per: limit.per,
        spacing: Pacer::time_for(limit, i64::from(limit.burst) + 1),
    }
}

/// Renews the view, whether or not anything moves, and records in the event log when somebody held the run back.
pub(super) async fn show(
    control: &RunControl,
    event_log: &EventLog,
    view: &watch::Sender<View>,
    renew: impl Fn(&mut View),
) -> Infallible {
    let mut looked = Instant::now();
    loop {
        let paused = control.throttle.pace().paused;
        let now = Instant::now();
        if paused {
            // Of one pause, each stretch begins where the one before ends: they become one.
            event_log.record_span(EventKind::Paused, looked, now);
        }
        looked = now;
        view.send_modify(|view| {
            renew(view);
            view.paused = paused;
            view.slowed_to = control.throttle.slowed_to();
            let rate = view.slowed_to.unwrap_or_else(|| control.throttle.configured());
            view.quota = view.quota.map(|_| quota(rate));
        });
        sleep(TICK).await;
    }
}
