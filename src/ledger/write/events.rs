//! Events of a run, written from the event log.

use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::warn;

use super::{Ledger, Run, columns::column};
use crate::{
    domain::{EventKind, EventLog, RunStatus},
    postgres::Failure,
};

impl Ledger {
    /// Returns the event log.
    #[must_use]
    pub fn event_log(&self) -> &EventLog {
        &self.event_log
    }

    /// Writes new events. They are tried once: the next call writes them again, and no run depends on them.
    pub async fn write_events(&self, run: &Run) {
        let news = self.event_log.unwritten();
        if news.is_empty() {
            return;
        }
        // All times in the ledger are those of the database's clock. The local clock only measures how long
        // ago an event was.
        let ago = |at: Instant| {
            let past = at.elapsed().as_secs_f64();
            past - at.saturating_duration_since(Instant::now()).as_secs_f64()
        };
        let numbers = column(&news, |entry| entry.number);
        let kinds = column(&news, |entry| entry.kind.as_str());
        let began = column(&news, |entry| ago(entry.from));
        let ended = column(&news, |entry| entry.until.map(ago));
        let seconds = column(&news, |entry| entry.seconds);
        let times = column(&news, |entry| entry.times);
        let details = column(&news, |entry| entry.detail.as_deref());
        let written = sqlx::query!(
            "insert into run_events (run_id, epoch, number, kind, at, until, seconds, times, detail)
             select $1, $2, number, kind, now() - make_interval(secs => began), now() - make_interval(secs => ended), seconds,
                    times, detail
             from unnest($3::integer[], $4::text[], $5::float8[], $6::float8[], $7::float8[], $8::integer[], $9::text[])
                  as news (number, kind, began, ended, seconds, times, detail)
             on conflict (run_id, epoch, number) do update set
                    until = excluded.until, seconds = excluded.seconds, times = excluded.times, detail = excluded.detail",
            run.id,
            run.epoch,
            &numbers,
            &kinds as &[&str],
            &began,
            &ended as &[Option<f64>],
            &seconds,
            &times,
            &details as &[Option<&str>],
        )
        .execute(&self.pool)
        .await;
        match written {
            Ok(_) => self.event_log.written(&news),
            Err(error) => {
                if !self.events_failed.swap(true, Ordering::Relaxed) {
                    warn!(
                        reason = %Failure::from(error),
                        "events of the run could not be written; a report may lack some of them"
                    );
                }
            }
        }
    }

    /// Records the end of this process's work on the run, and writes the remaining events.
    pub async fn close_events(&self, run: &Run, status: RunStatus, why: Option<&str>) {
        let status = status.as_str();
        let detail = why.map_or_else(|| status.to_owned(), |why| format!("{status}: {why}"));
        self.event_log.record(EventKind::Ended, Some(detail));
        self.write_events(run).await;
    }
}
