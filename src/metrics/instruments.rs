//! The figures themselves: their names, their labels, and what the help says of them.

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

/// What every name begins with.
const PREFIX: &str = "tokenferry";

/// Seconds. From a lookup next door to the longest `api.timeout` that makes sense.
const LATENCIES: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// No label holds anything of a token, a row or a user: what there can be of each is known beforehand.
pub(super) struct Instruments {
    pub(super) rows: IntCounter,
    /// Committed, failed, superseded, unchanged.
    tokens: [IntCounter; 4],
    /// Committed, failed.
    pub(super) batches: [IntCounter; 2],
    pub(super) batches_in_flight: IntGauge,
    pub(super) retries: IntCounter,
    /// By [`Wait`](super::Wait).
    pub(super) waits: [Counter; 3],
    requests: IntCounterVec,
    /// Those answered with 429, by purpose.
    pub(super) limited: [IntCounter; 4],
    in_flight: [IntGauge; 4],
    durations: [Histogram; 4],
    /// Requests that left, by purpose: what came of them is counted when it is known.
    begun: [AtomicI64; 4],
}

/// A registry with these labels on every figure.
pub(super) fn registry(labels: HashMap<String, String>) -> Registry {
    sound(Registry::new_custom(Some(PREFIX.to_owned()), Some(labels)))
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let requests = IntCounterVec::new(
            Opts::new(
                "http_requests_total",
                "Requests to the API that ended, by what they were for and the HTTP status, or why there is none",
            ),
            &["purpose", "status"],
        );
        let requests = known(registry, requests);
        for purpose in Purpose::ALL {
            // There from the beginning, so that the first one is an increase.
            let _ = requests.get_metric_with_label_values(&[purpose.as_str(), "200"]);
        }
        let purposes = Purpose::ALL.map(Purpose::as_str);
        let in_flight = IntGaugeVec::new(
            Opts::new("http_requests_in_flight", "Requests that await their answer"),
            &["purpose"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "http_request_duration_seconds",
                "From sending a request to the end of its answer, or to knowing that there is none",
            )
            .buckets(LATENCIES.to_vec()),
            &["purpose"],
        );
        let tokens = IntCounterVec::new(
            Opts::new(
                "tokens_total",
                "Tokens that came to an end in this process; of a verification: as sent (committed), different or missing \
                 (failed), changed in the source (superseded), not to be told (unchanged)",
            ),
            &["state"],
        );
        let batches = IntCounterVec::new(
            Opts::new("batches_total", "Batches that were sent, by what became of each"),
            &["outcome"],
        );
        let waits = CounterVec::new(
            Opts::new(
                "pacer_wait_seconds_total",
                "Time in which the next request was ready and did not leave, by why",
            ),
            &["reason"],
        );
        let retries = IntCounter::new(
            "retries_total",
            "Requests that repeated one which came to nothing",
        );
        let rows = IntCounter::new("rows_read_total", "Rows read from the source");
        let in_work = IntGauge::new("batches_in_flight", "Batches being worked on");
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
        // The number of labels is right: there is no other way for it to fail.
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

/// Each of the label's values, there from the beginning.
fn each<T: MetricVecBuilder, const N: usize>(family: &MetricVec<T>, values: [&str; N]) -> [T::M; N] {
    values.map(|value| sound(family.get_metric_with_label_values(&[value])))
}

/// Makes a figure known to the registry.
fn known<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let figure = sound(made);
    sound(registry.register(Box::new(figure.clone())));
    figure
}

/// The crate cannot know that names, labels and buckets are constants of this file. Every test that has a meter makes them all.
#[expect(
    clippy::expect_used,
    reason = "there is nothing that input could change about it"
)]
fn sound<T>(made: prometheus::Result<T>) -> T {
    made.expect("names, labels and buckets are as Prometheus wants them")
}
