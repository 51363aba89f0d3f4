//! Summary of a run: one object for scripts, and what people are shown.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Estimate, Mode, Rollback, RunId, Tally, Verification};

/// A run, as `migrate --json`, `verify --json`, `rollback --json` and `status --json` print it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The run.
    pub run_id: RunId,
    /// The migration's name.
    pub migration: String,
    /// The work of the run.
    pub mode: Mode,
    /// The status of the run.
    pub status: String,
    /// Whether more than one process worked on it.
    pub resumed: bool,
    /// The totals.
    pub tokens: Tally,
    /// Rows in the source when a process began; the planner's estimate, where counting takes too long.
    pub rows_expected: Option<i64>,
    /// Batches that have an outcome.
    pub batches: Batches,
    /// Requests and time.
    #[serde(flatten)]
    pub counters: Counters,
    /// Codes of the tokens that failed in this run, most frequent first; of a dry run, that would fail.
    #[serde(rename = "failures_by_code", serialize_with = "by_code")]
    pub failures: Vec<CodeCount>,
    /// Codes of the tokens that go up and somebody should look at.
    #[serde(rename = "warnings_by_code", serialize_with = "by_code")]
    pub warnings: Vec<CodeCount>,
    /// Codes of the rows that were left out for another token; of a dry run, that would be.
    #[serde(rename = "superseded_by_code", serialize_with = "by_code")]
    pub superseded: Vec<CodeCount>,
    /// A dry run's estimate of the real one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The findings of a run that reads tokens back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// The outcome of a run that deletes tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// For people: whether the next `migrate` resumes it, should it have ended early. `None` if the ledger was out of reach.
    #[serde(skip)]
    pub is_taken_up: Option<bool>,
    /// Whether it was about all rows, and not only about those that had failed.
    #[serde(skip)]
    pub is_of_all: bool,
}

/// Batches that have an outcome.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Batches {
    /// Stored by the API.
    pub committed: i64,
    /// Refused, or not let through.
    pub failed: i64,
}

/// Requests and time of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counters {
    /// Requests that carried tokens, or asked what became of them.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Answers 429.
    pub rate_limited: i64,
    /// Other requests: those that asked who and what exists.
    pub lookups: i64,
    /// Seconds that processes worked on it.
    #[serde(rename = "duration_s")]
    pub active_seconds: f64,
}

/// The number of tokens with a code.
#[derive(Debug, Clone)]
pub struct CodeCount {
    /// The code.
    pub code: String,
    /// Tokens.
    pub count: i64,
    /// One of the reasons.
    pub example: String,
}

fn by_code<S: Serializer>(counts: &[CodeCount], serializer: S) -> Result<S::Ok, S::Error> {
    let counts: BTreeMap<&str, i64> = counts
        .iter()
        .map(|found| (found.code.as_str(), found.count))
        .collect();
    counts.serialize(serializer)
}
