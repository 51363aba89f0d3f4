//! The view of a run in progress, for terminal, log and live page.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    config::RateLimit,
    domain::{Mode, Phase, RunId, RunStatus, Tally},
};

/// The quota of uploads and read-backs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The requests.
    pub requests: u32,
    /// The window.
    pub per: Duration,
    /// The time between two requests at full rate.
    pub spacing: Duration,
}

/// The tokens of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryCount {
    /// The tokens with an outcome.
    pub settled: u64,
    /// The tokens to send one by one.
    pub tokens: u64,
}

/// The state of a run, updated a few times a second.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The run, once it exists.
    pub run_id: Option<RunId>,
    /// The mode of the run.
    pub mode: Mode,
    /// The current phase.
    pub phase: Phase,
    /// The counts, including pages in progress.
    pub tally: Tally,
    /// The failures of this process, by code.
    pub failures: Vec<(String, i64)>,
    /// The expected number of rows, if the planner gives one.
    pub expected: Option<u64>,
    /// Requests so far, including earlier processes.
    pub requests: i64,
    /// Lookups so far, including earlier processes.
    pub lookups: i64,
    /// The quota of lookups, if the rows need some.
    pub lookup_quota: Option<Quota>,
    /// The canary, while it is sent.
    pub canary: Option<CanaryCount>,
    /// The quota.
    pub quota: Option<Quota>,
    /// Batches in flight.
    pub in_flight: i64,
    /// The remaining wait that the API asked for.
    pub held_for: Duration,
    /// True if the run is paused on the live page.
    pub paused: bool,
    /// The rate set on the live page instead of the configured one.
    pub slowed_to: Option<RateLimit>,
    /// The time at which a run of this mode last reached the end of its rows.
    pub last_success: Option<DateTime<Utc>>,
    /// The final status, once the run has ended.
    pub ended: Option<RunStatus>,
}

impl View {
    /// Records the end of the run.
    pub fn end(&mut self, status: RunStatus, tally: Tally, requests: i64) {
        self.ended = Some(status);
        self.tally = tally;
        self.requests = requests;
        self.in_flight = 0;
        self.held_for = Duration::ZERO;
        if matches!(status, RunStatus::Completed | RunStatus::CompletedWithFailures) {
            self.last_success = Some(Utc::now());
        }
    }
}
