//! Metrics of a run. Everything is counted once, where it happens: summary, progress and metrics read the
//! same counters.

mod exchange;
mod instruments;
mod purpose;

use std::{fmt, sync::Arc, time::Duration};

use prometheus::{Registry, TextEncoder};
use tokio::time::Instant;

pub use exchange::{Exchange, REQUEST_SPAN};
pub use purpose::Purpose;

use crate::domain::{Mode, Tally};
use instruments::Instruments;

/// The counters of one run in one process. Clones share them.
#[derive(Clone)]
pub struct Meter {
    registry: Registry,
    instruments: Arc<Instruments>,
}

/// The reason why a ready request is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The configured quota.
    Quota,
    /// The API's `Retry-After`.
    RetryAfter,
    /// A pause on the live page.
    Pause,
}

impl Meter {
    /// Creates a meter whose metrics carry the migration's name and the mode as labels.
    #[must_use]
    pub fn new(migration: &str, mode: Mode) -> Self {
        let labels = [
            ("migration".to_owned(), migration.to_owned()),
            ("mode".to_owned(), mode.as_str().to_owned()),
        ];
        let registry = instruments::registry(labels.into());
        Self {
            instruments: Arc::new(Instruments::new(&registry)),
            registry,
        }
    }

    /// Returns the registry, so that other metrics of the run can be added.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns all metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// Fails if they are inconsistent.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Counts a request as sent; the result records its outcome.
    pub fn request(&self, purpose: Purpose) -> Exchange {
        Exchange::begin(Arc::clone(&self.instruments), purpose)
    }

    /// Counts a request that repeats a failed one for the same batch.
    pub fn retry(&self) {
        self.instruments.retries.inc();
    }

    /// Counts rows read.
    pub fn read(&self, rows: i64) {
        self.instruments.rows.inc_by(rows.unsigned_abs());
    }

    /// Counts rows with an outcome.
    pub fn ended(&self, tally: &Tally) {
        self.instruments.ended(tally);
    }

    /// Counts a batch with an outcome. If it is sent again, whole or in parts, that counts separately.
    pub fn batch(&self, committed: bool) {
        let [stored, failed] = &self.instruments.batches;
        if committed { stored } else { failed }.inc();
    }

    /// Counts a batch as in progress until the result is dropped.
    #[must_use]
    pub fn delivery(&self) -> impl Drop + use<> {
        let gauge = self.instruments.batches_in_flight.clone();
        gauge.inc();
        OnDrop(move || gauge.dec())
    }

    /// Counts the time as waiting until the result is dropped.
    #[must_use]
    pub fn waiting(&self, why: Wait) -> impl Drop + use<> {
        let seconds = self.instruments.waits[why as usize].clone();
        let begin = Instant::now();
        OnDrop(move || seconds.inc_by(begin.elapsed().as_secs_f64()))
    }

    /// Returns the total time that requests have waited.
    #[must_use]
    pub fn waited(&self, why: Wait) -> Duration {
        Duration::try_from_secs_f64(self.instruments.waits[why as usize].get()).unwrap_or_default()
    }

    /// Returns the requests that uploaded tokens, read them back or deleted them.
    #[must_use]
    pub fn requests(&self) -> i64 {
        let about_tokens = [Purpose::Upload, Purpose::ReadBack, Purpose::Removal];
        about_tokens
            .map(|purpose| self.instruments.begun(purpose))
            .iter()
            .sum()
    }

    /// Returns the lookups of users, apps, tenants and the licence.
    #[must_use]
    pub fn lookups(&self) -> i64 {
        self.instruments.begun(Purpose::Lookup)
    }

    /// Returns the requests that repeated an earlier one.
    #[must_use]
    pub fn retries(&self) -> i64 {
        self.instruments.retries.get().cast_signed()
    }

    /// Returns the responses with status 429.
    #[must_use]
    pub fn rate_limited(&self) -> i64 {
        let limited = self.instruments.limited.iter();
        limited
            .map(prometheus::IntCounter::get)
            .sum::<u64>()
            .cast_signed()
    }

    /// Returns the numbers of committed and failed batches.
    #[must_use]
    pub fn batches(&self) -> (i64, i64) {
        let [committed, failed] = &self.instruments.batches;
        (committed.get().cast_signed(), failed.get().cast_signed())
    }

    /// Returns the number of batches in progress.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.instruments.batches_in_flight.get()
    }

    /// Returns the mean response time and the number of responses.
    #[must_use]
    pub fn latency(&self) -> (Duration, u64) {
        self.instruments.latency()
    }
}

impl Default for Meter {
    /// Creates a meter without a migration name.
    fn default() -> Self {
        Self::new("", Mode::Migrate)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

/// Runs a function when it is dropped, however the work ends.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the value of the one metric with this name and these labels.
    fn value(meter: &Meter, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = meter.text().unwrap();
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = prometheus_parse::Scrape::parse(lines).unwrap().samples;
        let mut found = samples.into_iter().filter(|sample| {
            sample.metric == name
                && sample.labels.get("migration") == Some("crm")
                && sample.labels.get("mode") == Some("migrate")
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(label) == Some(value))
        });
        let (Some(one), None) = (found.next(), found.next()) else {
            panic!("not one {name} {labels:?} in {text}")
        };
        match one.value {
            prometheus_parse::Value::Counter(value) | prometheus_parse::Value::Gauge(value) => value,
            // The number of requests that took at most half a second.
            prometheus_parse::Value::Histogram(buckets) => {
                let half = buckets
                    .iter()
                    .find(|bucket| (bucket.less_than - 0.5).abs() < 1e-9);
                half.unwrap().count
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_counted_when_it_leaves_and_again_by_what_came_of_it() {
        let meter = Meter::new("crm", Mode::Migrate);
        let in_flight = || {
            let labels = [("purpose", "upload")];
            value(&meter, "tokenferry_http_requests_in_flight", &labels).to_string()
        };
        let ended = |purpose, status| {
            let labels = [("purpose", purpose), ("status", status)];
            value(&meter, "tokenferry_http_requests_total", &labels).to_string()
        };
        let exchange = meter.request(Purpose::Upload);
        assert_eq!(
            (meter.requests(), meter.lookups(), in_flight().as_str()),
            (1, 0, "1")
        );
        assert_eq!([ended("upload", "200"), ended("upload", "429")], ["0", "0"]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        exchange.answered(429);
        let exchange = meter.request(Purpose::Upload);
        tokio::time::sleep(Duration::from_millis(600)).await;
        exchange.answered(200);
        meter.request(Purpose::ReadBack).lost("timeout");
        // Abandoned, as when a run is stopped.
        drop(meter.request(Purpose::Lookup));
        assert_eq!(
            (meter.requests(), meter.lookups(), in_flight().as_str()),
            (3, 1, "0")
        );
        assert_eq!(meter.rate_limited(), 1);
        assert_eq!([ended("upload", "200"), ended("upload", "429")], ["1", "1"]);
        assert_eq!(
            [ended("read_back", "timeout"), ended("lookup", "abandoned")],
            ["1", "1"]
        );
        let quick = ["upload", "read_back", "lookup"].map(|purpose| {
            let labels = [("purpose", purpose)];
            value(&meter, "tokenferry_http_request_duration_seconds", &labels).to_string()
        });
        assert_eq!(quick, ["1", "1", "0"]);
        assert_eq!(meter.latency(), (Duration::from_millis(300), 3));
    }

    #[test]
    fn tokens_are_counted_by_their_end() {
        let meter = Meter::new("crm", Mode::Migrate);
        meter.read(10);
        let tally = Tally {
            selected: 10,
            committed: 4,
            failed: 3,
            superseded: 2,
            unchanged: 1,
        };
        meter.ended(&tally);
        let tokens = ["committed", "failed", "superseded", "unchanged"]
            .map(|state| value(&meter, "tokenferry_tokens_total", &[("state", state)]).to_string());
        assert_eq!(tokens, ["4", "3", "2", "1"]);
        assert_eq!(value(&meter, "tokenferry_rows_read_total", &[]).to_string(), "10");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_and_working_end_with_whatever_ends_them() {
        let meter = Meter::default();
        {
            let _delivery = meter.delivery();
            let _waiting = meter.waiting(Wait::Pause);
            tokio::time::sleep(Duration::from_secs(7)).await;
            assert_eq!(meter.in_flight(), 1);
        }
        assert_eq!(
            (meter.in_flight(), meter.waited(Wait::Pause)),
            (0, Duration::from_secs(7))
        );
        assert_eq!(meter.waited(Wait::Quota), Duration::ZERO);
    }
}
