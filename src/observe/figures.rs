//! Figures about the run as a whole. The counters are kept by whoever counts; these are read off the view when somebody asks.

use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::{
    domain::{RunStatus, Tally},
    rate::RunControl,
    report::View,
};

/// Where a run can stand; a label's values.
const STATUSES: [RunStatus; 5] = [
    RunStatus::Running,
    RunStatus::Completed,
    RunStatus::CompletedWithFailures,
    RunStatus::Interrupted,
    RunStatus::Stopped,
];

/// Figures from the control and the view, beside the meter's.
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
            Opts::new("build_info", "Always 1; the labels say what is running"),
            &["version"],
        )?;
        register(&registry, build)?
            .get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?
            .set(1.0);
        let started = known(IntGauge::new(
            "start_timestamp_seconds",
            "When this process took up its work",
        )?)?;
        started.set(chrono::Utc::now().timestamp());
        Ok(Self {
            status: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "run_status",
                        "1 for where the run stands, 0 for where it does not",
                    ),
                    &["status"],
                )?,
            )?,
            tokens: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "run_tokens",
                        "The books of the whole run, earlier processes included",
                    ),
                    &["state"],
                )?,
            )?,
            selected: known(IntGauge::new(
                "run_rows_selected",
                "Rows read by the whole run, earlier processes included",
            )?)?,
            settled: known(IntGauge::new(
                "run_rows_settled",
                "Rows of the whole run that have an end, earlier processes included",
            )?)?,
            expected: known_float(Gauge::new(
                "run_rows_expected",
                "Rows the source is expected to have; NaN where nobody knows",
            )?)?,
            held: known_float(Gauge::new(
                "held_seconds",
                "How much longer the API asked all requests to wait",
            )?)?,
            paused: known(IntGauge::new("paused", "1 while somebody holds the run back")?)?,
            quota: known_float(Gauge::new(
                "quota_requests_per_second",
                "The rate at which requests may leave, as configured or slowed down by hand",
            )?)?,
            last_success: known_float(Gauge::new(
                "last_success_timestamp_seconds",
                "When a run of this kind last came to the end of its rows, whether or not some failed; NaN if none ever did",
            )?)?,
            control,
        })
    }

    /// Everything, in the text format of Prometheus.
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
