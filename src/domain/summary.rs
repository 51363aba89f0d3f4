//! Summary of a run: one object for scripts, and what people are shown.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Estimate, Mode, Rollback, RunId, Tally, Verification};

/// The output of `migrate --json`, `verify --json`, `rollback --json` and `status --json`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The run.
    pub run_id: RunId,
    /// The migration's name.
    pub migration: String,
    /// The mode of the run.
    pub mode: Mode,
    /// The status of the run.
    pub status: String,
    /// True if more than one process worked on it.
    pub resumed: bool,
    /// The counts.
    pub tokens: Tally,
    /// The number of rows when a process started: counted or, if counting takes too long, those of an
    /// earlier complete run or the planner's estimate.
    pub rows_expected: Option<i64>,
    /// Batches that have an outcome.
    pub batches: Batches,
    /// Requests and time.
    #[serde(flatten)]
    pub counters: Counters,
    /// Codes of failed tokens, most frequent first; for a dry run, of tokens that would fail.
    #[serde(rename = "failures_by_code", serialize_with = "by_code")]
    pub failures: Vec<CodeCount>,
    /// Codes of uploaded tokens with warnings.
    #[serde(rename = "warnings_by_code", serialize_with = "by_code")]
    pub warnings: Vec<CodeCount>,
    /// Codes of rows left out for another token; for a dry run, of rows that would be.
    #[serde(rename = "superseded_by_code", serialize_with = "by_code")]
    pub superseded: Vec<CodeCount>,
    /// The estimate of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The results of a verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// The results of a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The reason for an early end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// For people: whether the next `migrate` resumes an early ended run. `None` if the ledger was
    /// unreachable.
    #[serde(skip)]
    pub is_taken_up: Option<bool>,
    /// True if all rows were selected, not only failed ones.
    #[serde(skip)]
    pub is_of_all: bool,
}

/// Batches that have an outcome.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Batches {
    /// Stored by the API.
    pub committed: i64,
    /// Rejected, or failed without a response.
    pub failed: i64,
}

/// Requests and time of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counters {
    /// Requests that uploaded tokens, read them back or deleted them.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Responses with status 429.
    pub rate_limited: i64,
    /// Lookups, which are not included in `requests`.
    pub lookups: i64,
    /// Seconds of work of all processes.
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
