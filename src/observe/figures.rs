//! Metrics of the whole run, read from the view and the control when they are scraped.

use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::{
    domain::{RunStatus, Tally},
    rate::RunControl,
    report::View,
};

/// The possible statuses, which are label values.
const STATUSES: [RunStatus; 5] = [
    RunStatus::Running,
    RunStatus::Completed,
    RunStatus::CompletedWithFailures,
    RunStatus::Interrupted,
    RunStatus::Stopped,
];

/// Metrics from the control and the view, in addition to the meter's.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    control: RunControl,
    status: IntGaugeVec,
    tokens: IntGaugeVec,
    selected: IntGauge,
    settled: IntGauge,
    expected: Gauge,
    held: Gauge,
    paused: IntGauge,
    quota: Gauge,
    last_success: Gauge,
}

impl Figures {
    pub(super) fn new(control: RunControl) -> prometheus::Result<Self> {
        let registry = control.meter.registry().clone();
        let known = |gauge: IntGauge| register(&registry, gauge);
        let known_float = |gauge: Gauge| register(&registry, gauge);
        let build = GaugeVec::new(
            Opts::new("build_info", "Always 1; the labels identify the build"),
            &["version"],
        )?;
        register(&registry, build)?
            .get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?
            .set(1.0);
        let started = known(IntGauge::new(
            "start_timestamp_seconds",
            "Time at which this process started",
        )?)?;
        started.set(chrono::Utc::now().timestamp());
        Ok(Self {
            status: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("run_status", "1 for the status of the run, 0 for all others"),
                    &["status"],
                )?,
            )?,
            tokens: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "run_tokens",
                        "Token counts of the whole run, including earlier processes",
                    ),
                    &["state"],
                )?,
            )?,
            selected: known(IntGauge::new(
                "run_rows_selected",
                "Rows read by the whole run, including earlier processes",
            )?)?,
            settled: known(IntGauge::new(
                "run_rows_settled",
                "Rows with an outcome in the whole run, including earlier processes",
            )?)?,
            expected: known_float(Gauge::new(
                "run_rows_expected",
                "Rows expected in the source; NaN if unknown",
            )?)?,
            held: known_float(Gauge::new(
                "held_seconds",
                "Remaining time for which the API asked all requests to wait",
            )?)?,
            paused: known(IntGauge::new(
                "paused",
                "1 while the run is paused on the live page",
            )?)?,
            quota: known_float(Gauge::new(
                "quota_requests_per_second",
                "Current request rate, as configured or lowered on the live page",
            )?)?,
            last_success: known_float(Gauge::new(
                "last_success_timestamp_seconds",
                "Time at which a run of this kind last reached the end of its rows, with or without failures; NaN if none did",
            )?)?,
            control,
        })
    }

    /// Returns all metrics in the text format of Prometheus.
    pub(super) fn text(&self, view: &View) -> prometheus::Result<String> {
        self.set(view)?;
        self.control.meter.text()
    }

    fn set(&self, view: &View) -> prometheus::Result<()> {
        let standing = view.ended.or(view.run_id.map(|_| RunStatus::Running));
        for status in STATUSES {
            let gauge = self.status.get_metric_with_label_values(&[status.as_str()])?;
            gauge.set(i64::from(standing == Some(status)));
        }
        let Tally {
            selected,
            committed,
            failed,
            superseded,
            unchanged,
        } = view.tally;
        for (state, count) in [
            ("committed", committed),
            ("failed", failed),
            ("superseded", superseded),
            ("unchanged", unchanged),
        ] {
            self.tokens.get_metric_with_label_values(&[state])?.set(count);
        }
        self.selected.set(selected);
        self.settled.set(view.tally.settled());
        self.expected
            .set(view.expected.map_or(f64::NAN, |rows| rows as f64));
        self.held.set(view.held_for.as_secs_f64());
        let throttle = &self.control.throttle;
        self.paused
            .set(i64::from(throttle.pace().paused && view.ended.is_none()));
        let rate = throttle.slowed_to().unwrap_or(throttle.configured());
        self.quota.set(f64::from(rate.requests) / rate.per.as_secs_f64());
        self.last_success.set(
            view.last_success
                .map_or(f64::NAN, |at| at.timestamp_millis() as f64 / 1000.0),
        );
        Ok(())
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    figure: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(figure.clone()))?;
    Ok(figure)
}
