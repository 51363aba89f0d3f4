//! The view of a run in progress: what a terminal, a log and the live page show.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    config::RateLimit,
    domain::{Mode, Phase, RunId, RunStatus, Tally},
};

/// The quota of the requests that carry tokens, or read them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests.
    pub requests: u32,
    /// The window they are counted in.
    pub per: Duration,
    /// Between two requests at full pace.
    pub spacing: Duration,
}

/// A run in progress, brought up to date a few times a second.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The run, once there is one.
    pub run_id: Option<RunId>,
    /// What the run does.
    pub mode: Mode,
    /// What it is at.
    pub phase: Phase,
    /// The books, pages included that are still being worked on.
    pub tally: Tally,
    /// What failed in this process, by code.
    pub failures: Vec<(String, i64)>,
    /// Rows the source is expected to have, where its planner has an idea.
    pub expected: Option<u64>,
    /// Requests so far, those of earlier processes included.
    pub requests: i64,
    /// What they pay.
    pub quota: Option<Quota>,
    /// Batches in flight.
    pub in_flight: i64,
    /// How long the API asked us to wait, from now.
    pub held_for: Duration,
    /// True if somebody holds the run back.
    pub paused: bool,
    /// The rate somebody asked for in place of the configured one.
    pub slowed_to: Option<RateLimit>,
    /// When a run of this kind last came to the end of its rows.
    pub last_success: Option<DateTime<Utc>>,
    /// How the run ended, once it has.
    pub ended: Option<RunStatus>,
}

impl View {
    /// The run has ended so, with these books, and sent so much.
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
