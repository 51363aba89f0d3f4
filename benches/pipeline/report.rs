//! The report: a table of all scenarios, and the targets of docs/performance.md with reached or MISSED.

use std::{fmt::Display, fs, thread::available_parallelism};

use crate::{
    cost::Cost,
    quota::{self, Used},
    rounds::{Figures, Scenario},
};

const LEAST_FIRST_RATIO: f64 = 0.5;
const LEAST_UNCHANGED_RATIO: f64 = 0.6;
const LEAST_SLOW_ROWS: f64 = 19_000.0;
const MOST_MIB: f64 = 48.0;
const MOST_CPU_SECONDS: f64 = 0.8;
const LEAST_QUOTA_SHARE: f64 = 0.98;

/// Figures, and the number of rows that they are for.
#[derive(Debug)]
pub(crate) struct Report {
    rows: f64,
    figures: Figures,
}

impl Report {
    pub(crate) fn new(rows: u64, figures: Figures) -> Self {
        Self {
            rows: rows as f64,
            figures,
        }
    }

    pub(crate) fn print(&self, load_before: &str) {
        let Some(rounds) = self.figures.costs.get(&Scenario::Copy).map(Vec::len) else {
            return;
        };
        let cores = available_parallelism().map_or(0, usize::from);
        println!();
        println!(
            "{} rows of about 1.4 KB, batches of 500, 8 in flight, no quota; rounds: {rounds}",
            self.rows
        );
        println!(
            "{cores} cores, load average {load_before} before and {} after",
            load_average()
        );
        println!("medians (least to most), peak memory: the greatest; CPU in seconds for 100,000 rows");
        println!();
        println!(
            "  {:<34}{:>9}{:>9}  {:<20}{:>8}{:>10}{:>10}{:>9}",
            "", "time", "rows/s", "of COPY", "CPU", "Postgres", "peak MiB", "WAL MiB"
        );
        for (scenario, costs) in &self.figures.costs {
            self.print_scenario(*scenario, costs);
        }
        println!();
        self.print_targets();
    }

    fn print_scenario(&self, scenario: Scenario, costs: &[Cost]) {
        let seconds = median(costs.iter().map(|cost| cost.wall_seconds));
        let ratios = self.ratios(scenario);
        let (least, most) = (smallest(&ratios), largest(&ratios));
        let ratio = format!("{:.2} ({least:.2} to {most:.2})", median(ratios));
        let rate = format!("{:.0}", self.rows / seconds);
        let per_100_000 = |seconds: f64| format!("{:.2}", seconds / self.rows * 100_000.0);
        let postgres: Option<Vec<f64>> = costs.iter().map(|cost| cost.postgres_seconds).collect();
        println!(
            "  {:<34}{:>7.2} s{rate:>9}  {ratio:<20}{:>8}{:>10}{:>10.1}{:>9.1}",
            scenario.label(),
            seconds,
            per_100_000(median(costs.iter().map(|cost| cost.own_seconds))),
            postgres.map_or("unknown".to_owned(), |seconds| per_100_000(median(seconds))),
            mib(costs.iter().map(|cost| cost.peak_bytes).max().unwrap_or_default() as f64),
            mib(median(costs.iter().map(|cost| cost.wal_bytes))),
        );
    }

    fn print_targets(&self) {
        let first = median(self.ratios(Scenario::FirstRun));
        line(
            "first run, of COPY",
            format!("{first:.2}"),
            "at least 0.50",
            first >= LEAST_FIRST_RATIO,
        );
        let unchanged = median(self.ratios(Scenario::Unchanged));
        line(
            "rerun, nothing changed, of COPY",
            format!("{unchanged:.2}"),
            "at least 0.60",
            unchanged >= LEAST_UNCHANGED_RATIO,
        );
        let slow = self.rows / median(self.costs(Scenario::SlowApi).map(|cost| cost.wall_seconds));
        line(
            "API takes 200 ms",
            format!("{slow:.0} rows/s"),
            "at least 19,000 rows/s (the limit is 20,000)",
            slow >= LEAST_SLOW_ROWS,
        );
        let tokenferry = self
            .figures
            .costs
            .iter()
            .filter(|(scenario, _)| scenario.is_tokenferry());
        let peaks = tokenferry.flat_map(|(_, costs)| costs.iter().map(|cost| cost.peak_bytes));
        let peak = mib(peaks.max().unwrap_or_default() as f64);
        line(
            "peak memory in any run",
            format!("{peak:.1} MiB"),
            "at most 48 MiB",
            peak <= MOST_MIB,
        );
        let own = self.costs(Scenario::FirstRun).map(|cost| cost.own_seconds);
        let cpu = median(own) / self.rows * 100_000.0;
        line(
            "CPU for 100,000 tokens, first run",
            format!("{cpu:.2} s"),
            "under 0.8 s",
            cpu < MOST_CPU_SECONDS,
        );
        let wal = median(self.costs(Scenario::FirstRun).map(|cost| cost.wal_bytes)) / self.rows;
        let ledger = self.figures.ledger_bytes as f64 / self.rows;
        println!(
            "  {:<34}{:>16}",
            "WAL per token, first run",
            format!("{wal:.0} bytes")
        );
        println!(
            "  {:<34}{:>16}",
            "ledger on disk per token",
            format!("{ledger:.0} bytes")
        );
        println!();
    }

    /// The speed compared with `COPY` in the same round.
    fn ratios(&self, scenario: Scenario) -> Vec<f64> {
        self.costs(Scenario::Copy)
            .zip(self.costs(scenario))
            .map(|(copy, cost)| copy.wall_seconds / cost.wall_seconds)
            .collect()
    }

    fn costs(&self, scenario: Scenario) -> impl Iterator<Item = &Cost> {
        self.figures.costs.get(&scenario).into_iter().flatten()
    }
}

pub(crate) fn print_quota(used: &Used) {
    println!(
        "under a quota of {} requests a second, for {:.1} s",
        quota::RATE,
        used.seconds
    );
    line(
        "responses with status 429",
        used.rate_limited,
        "none",
        used.rate_limited == 0,
    );
    line(
        "share of the quota used",
        format!("{:.1} %", used.share * 100.0),
        "at least 98 %",
        used.share >= LEAST_QUOTA_SHARE,
    );
}

/// The load of the last minute; other work on the machine makes all figures worse.
pub(crate) fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ')
        .next()
        .filter(|load| !load.is_empty())
        .unwrap_or("unknown")
        .to_owned()
}

fn line(label: &str, value: impl Display, target: &str, is_reached: bool) {
    let verdict = if is_reached { "reached" } else { "MISSED" };
    println!("  {label:<34}{value:>16}   {target}: {verdict}");
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => f64::NAN,
    }
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
