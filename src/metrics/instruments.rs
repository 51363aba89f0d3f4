//! The instruments: names, labels and help texts of all metrics.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

use super::Purpose;
use crate::domain::Tally;

/// The prefix of all names.
const PREFIX: &str = "tokenferry";

/// Buckets in seconds, from a local lookup to the longest sensible `api.timeout`.
const LATENCIES: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The instruments. Labels have a fixed set of values and never contain tokens, rows or users.
pub(super) struct Instruments {
    pub(super) rows: IntCounter,
    /// By outcome: committed, failed, superseded, unchanged.
    tokens: [IntCounter; 4],
    /// By outcome: committed, failed.
    pub(super) batches: [IntCounter; 2],
    pub(super) batches_in_flight: IntGauge,
    pub(super) retries: IntCounter,
    /// By [`Wait`](super::Wait).
    pub(super) waits: [Counter; 3],
    requests: IntCounterVec,
    /// Responses with status 429, by purpose.
    pub(super) limited: [IntCounter; 4],
    in_flight: [IntGauge; 4],
    durations: [Histogram; 4],
    /// Requests sent, by purpose; counted by outcome when they end.
    begun: [AtomicI64; 4],
}

/// Creates a registry that adds these labels to every metric.
pub(super) fn registry(labels: HashMap<String, String>) -> Registry {
    sound(Registry::new_custom(Some(PREFIX.to_owned()), Some(labels)))
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let requests = IntCounterVec::new(
            Opts::new(
                "http_requests_total",
                "Completed API requests, by purpose and HTTP status, or the reason why there is none",
            ),
            &["purpose", "status"],
        );
        let requests = known(registry, requests);
        for purpose in Purpose::ALL {
            // Exists from the start, so that the first request shows as an increase.
            let _ = requests.get_metric_with_label_values(&[purpose.as_str(), "200"]);
        }
        let purposes = Purpose::ALL.map(Purpose::as_str);
        let in_flight = IntGaugeVec::new(
            Opts::new("http_requests_in_flight", "Requests that await their response"),
            &["purpose"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "http_request_duration_seconds",
                "Time from sending a request to the end of its response, or to its failure",
            )
            .buckets(LATENCIES.to_vec()),
            &["purpose"],
        );
        let tokens = IntCounterVec::new(
            Opts::new(
                "tokens_total",
                "Tokens with an outcome in this process; of a verification: as sent (committed), different or missing \
                 (failed), changed in the source (superseded), inconclusive (unchanged)",
            ),
            &["state"],
        );
        let batches = IntCounterVec::new(
            Opts::new("batches_total", "Batches sent, by outcome"),
            &["outcome"],
        );
        let waits = CounterVec::new(
            Opts::new(
                "pacer_wait_seconds_total",
                "Time for which the next request was ready but held back, by reason",
            ),
            &["reason"],
        );
        let retries = IntCounter::new("retries_total", "Requests that repeated a failed one");
        let rows = IntCounter::new("rows_read_total", "Rows read from the source");
        let in_work = IntGauge::new("batches_in_flight", "Batches in progress");
        Self {
            rows: known(registry, rows),
            tokens: each(
                &known(registry, tokens),
                ["committed", "failed", "superseded", "unchanged"],
            ),
            batches: each(&known(registry, batches), ["committed", "failed"]),
            batches_in_flight: known(registry, in_work),
            retries: known(registry, retries),
            waits: each(&known(registry, waits), ["quota", "retry_after", "pause"]),
            limited: Purpose::ALL
                .map(|purpose| sound(requests.get_metric_with_label_values(&[purpose.as_str(), "429"]))),
            in_flight: each(&known(registry, in_flight), purposes),
            durations: each(&known(registry, durations), purposes),
            requests,
            begun: Default::default(),
        }
    }

    pub(super) fn ended(&self, tally: &Tally) {
        let counts = [tally.committed, tally.failed, tally.superseded, tally.unchanged];
        for (counter, count) in self.tokens.iter().zip(counts) {
            counter.inc_by(count.unsigned_abs());
        }
    }

    pub(super) fn begun(&self, purpose: Purpose) -> i64 {
        self.begun[purpose as usize].load(Ordering::Relaxed)
    }

    pub(super) fn leaves(&self, purpose: Purpose) {
        self.begun[purpose as usize].fetch_add(1, Ordering::Relaxed);
        self.in_flight[purpose as usize].inc();
    }

    pub(super) fn returns(&self, purpose: Purpose) {
        self.in_flight[purpose as usize].dec();
    }

    pub(super) fn came_to(&self, purpose: Purpose, status: &str) {
        // Cannot fail: the number of labels is right.
        if let Ok(counter) = self
            .requests
            .get_metric_with_label_values(&[purpose.as_str(), status])
        {
            counter.inc();
        }
    }

    pub(super) fn took(&self, purpose: Purpose, time: Duration) {
        self.durations[purpose as usize].observe(time.as_secs_f64());
    }

    pub(super) fn latency(&self) -> (Duration, u64) {
        let count: u64 = self.durations.iter().map(Histogram::get_sample_count).sum();
        let sum: f64 = self.durations.iter().map(Histogram::get_sample_sum).sum();
        let mean = sum / count.max(1) as f64;
        (Duration::try_from_secs_f64(mean).unwrap_or_default(), count)
    }
}

/// Returns a metric per label value, so that all exist from the start.
fn each<T: MetricVecBuilder, const N: usize>(family: &MetricVec<T>, values: [&str; N]) -> [T::M; N] {
    values.map(|value| sound(family.get_metric_with_label_values(&[value])))
}

/// Registers a metric.
fn known<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let figure = sound(made);
    sound(registry.register(Box::new(figure.clone())));
    figure
}

/// Names, labels and buckets are constants of this file, which the crate cannot know. Every test with a meter
/// creates them all.
#[expect(clippy::expect_used, reason = "independent of any input")]
fn sound<T>(made: prometheus::Result<T>) -> T {
    made.expect("names, labels and buckets are valid")
}
