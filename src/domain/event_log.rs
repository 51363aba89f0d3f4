//! Event log: what happens to a run apart from its tokens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A process started the run.
    Started,
    /// Another process resumed the run.
    Resumed,
    /// The API asked to wait with calls that have no quota of their own; no tokens were sent meanwhile.
    Held,
    /// The API asked to wait with lookups of users.
    LookupsHeld,
    /// Somebody paused the run on the live page.
    Paused,
    /// The API rejected a batch for its size, and later batches were smaller.
    SizeLowered,
    /// The rate that the API allows changed.
    RateChanged,
    /// The source was unreachable.
    SourceAway,
    /// The ledger was unreachable.
    LedgerAway,
    /// A process ended the run, finished or not.
    Ended,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Started,
        Self::Resumed,
        Self::Held,
        Self::LookupsHeld,
        Self::Paused,
        Self::SizeLowered,
        Self::RateChanged,
        Self::SourceAway,
        Self::LedgerAway,
        Self::Ended,
    ];

    /// Returns the event that a process records when it starts or resumes a run.
    #[must_use]
    pub fn taking_up(resumed: bool) -> Self {
        if resumed { Self::Resumed } else { Self::Started }
    }

    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Resumed => "resumed",
            Self::Held => "held",
            Self::LookupsHeld => "lookups_held",
            Self::Paused => "paused",
            Self::SizeLowered => "size_lowered",
            Self::RateChanged => "rate_changed",
            Self::SourceAway => "source_away",
            Self::LedgerAway => "ledger_away",
            Self::Ended => "ended",
        }
    }

    /// Parses the word that the ledger stores; `None` for kinds of a later version.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One event, or several merged into one.
#[derive(Debug, Clone)]
pub struct Event {
    /// Counts from 1 within this process.
    pub number: i32,
    /// The kind.
    pub kind: EventKind,
    /// The beginning.
    pub from: Instant,
    /// The end of the last merged event, if events of this kind last.
    pub until: Option<Instant>,
    /// The total duration.
    pub seconds: f64,
    /// The number of merged events.
    pub times: i32,
    /// A sentence about it.
    pub detail: Option<String>,
    /// The number of changes so far, and the number when it was last written.
    changes: u32,
    written: u32,
}

/// Recorded by all tasks of a run, written to the ledger by one. Keeps a bounded number of entries.
#[derive(Debug, Clone, Default)]
pub struct EventLog(Arc<Mutex<Vec<Event>>>);

/// The limit per kind. Later events are merged into the last entry.
const MOST_OF_A_KIND: usize = 100;

impl EventLog {
    /// Records an event at this moment.
    pub fn record(&self, kind: EventKind, detail: Option<String>) {
        self.add(kind, Instant::now(), None, detail);
    }

    /// Records a period, whose end may be in the future. Merges it with the last one if they overlap or
    /// touch.
    pub fn record_span(&self, kind: EventKind, from: Instant, until: Instant) {
        self.add(kind, from, Some(until), None);
    }

    fn add(&self, kind: EventKind, from: Instant, until: Option<Instant>, detail: Option<String>) {
        let lasted = until.map_or(0.0, |until| until.saturating_duration_since(from).as_secs_f64());
        let mut entries = self.lock();
        let of_kind = entries.iter().filter(|entry| entry.kind == kind).count();
        let last = entries.iter_mut().rfind(|entry| entry.kind == kind);
        match last {
            Some(last) if last.until.is_some_and(|before| from <= before) => {
                let before = last.until.unwrap_or(from);
                let longer = until.map_or(0.0, |until| until.saturating_duration_since(before).as_secs_f64());
                last.seconds += longer;
                last.until = last.until.max(until);
                last.changes += u32::from(longer > 0.0);
            }
            Some(last) if of_kind >= MOST_OF_A_KIND => {
                last.seconds += lasted;
                last.times = last.times.saturating_add(1);
                last.until = last.until.max(until.or(Some(from)));
                last.detail = detail.or(last.detail.take());
                last.changes += 1;
            }
            _ => {
                let number = i32::try_from(entries.len() + 1).unwrap_or(i32::MAX);
                entries.push(Event {
                    number,
                    kind,
                    from,
                    until,
                    seconds: lasted,
                    times: 1,
                    detail,
                    changes: 1,
                    written: 0,
                });
            }
        }
    }

    /// Returns the events that are new or have changed since they were written.
    #[must_use]
    pub fn unwritten(&self) -> Vec<Event> {
        let is_news = |entry: &&Event| entry.changes > entry.written;
        self.lock().iter().filter(is_news).cloned().collect()
    }

    /// Marks the events as written in this state.
    pub fn written(&self, news: &[Event]) {
        let mut entries = self.lock();
        for news in news {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.number == news.number) {
                entry.written = news.changes;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        // A poisoned lock still guards consistent data: changes under it complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn holds_that_overlap_are_one_and_others_are_not() {
        let event_log = EventLog::default();
        let now = Instant::now();
        event_log.record_span(EventKind::Held, now, now + 10 * SECOND);
        // Another request that was in flight, rejected a little later.
        event_log.record_span(EventKind::Held, now + SECOND, now + 12 * SECOND);
        event_log.record_span(EventKind::LedgerAway, now, now + 5 * SECOND);
        event_log.record_span(EventKind::Held, now + 20 * SECOND, now + 21 * SECOND);
        let seen: Vec<_> = event_log
            .unwritten()
            .iter()
            .map(|entry| (entry.number, entry.kind, entry.seconds, entry.times))
            .collect();
        assert_eq!(
            seen,
            [
                (1, EventKind::Held, 12.0, 1),
                (2, EventKind::LedgerAway, 5.0, 1),
                (3, EventKind::Held, 1.0, 1)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_comes_again_only_if_it_changes() {
        let event_log = EventLog::default();
        let now = Instant::now();
        event_log.record(EventKind::Started, Some("by a test".to_owned()));
        event_log.record_span(EventKind::Held, now, now + SECOND);
        let news = event_log.unwritten();
        // It continues while it is being written.
        event_log.record_span(EventKind::Held, now, now + 3 * SECOND);
        event_log.written(&news);
        let again = event_log.unwritten();
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].number, again[0].seconds), (2, 3.0));
        event_log.written(&again);
        assert!(event_log.unwritten().is_empty());
        // The same period again changes nothing.
        event_log.record_span(EventKind::Held, now, now + 2 * SECOND);
        assert!(event_log.unwritten().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_it_happens_there_are_few_entries() {
        let event_log = EventLog::default();
        let now = Instant::now();
        for number in 0..1000 {
            let from = now + 10 * number * SECOND;
            event_log.record_span(EventKind::Held, from, from + 2 * SECOND);
        }
        let entries = event_log.unwritten();
        assert_eq!(entries.len(), MOST_OF_A_KIND);
        let last = entries.last().unwrap();
        assert_eq!(last.times, 901);
        assert!((entries.iter().map(|entry| entry.seconds).sum::<f64>() - 2000.0).abs() < 1e-6);
        assert_eq!(last.until, Some(now + 9992 * SECOND));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("paused by the moon"), None);
    }
}
