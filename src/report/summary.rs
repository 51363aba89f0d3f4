//! The summary of a run: one object for scripts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    config::LedgerAccess,
    domain::{Estimate, Mode, PendingDeletions, Rollback, RunId, Tally, Verification},
    ledger::{CodeCount, LedgerError, LedgerReader, RunReport},
};

/// What `migrate --json`, `verify --json`, `rollback --json` and `status --json` print.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The run.
    pub run_id: RunId,
    /// The migration's name.
    pub migration: String,
    /// What the run does.
    pub mode: Mode,
    /// Where the run stands.
    pub status: String,
    /// True if more than one process worked on it.
    pub resumed: bool,
    /// The books.
    pub tokens: Tally,
    /// How many rows the source had when a process began; what its planner expected, where counting takes too long.
    pub rows_expected: Option<i64>,
    /// Batches that have an outcome.
    pub batches: Batches,
    /// Requests that carried tokens, or asked what became of them.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Answers 429.
    pub rate_limited: i64,
    /// Requests that asked who and what exists, beside the others.
    pub lookups: i64,
    /// Seconds that processes worked on it.
    pub duration_s: f64,
    /// How many tokens failed in this run, by code; of a dry run, how many would.
    pub failures_by_code: BTreeMap<String, i64>,
    /// How many tokens that go up somebody should look at, by code.
    pub warnings_by_code: BTreeMap<String, i64>,
    /// How many rows were left out for another token, by code; of a dry run, how many would be.
    pub superseded_by_code: BTreeMap<String, i64>,
    /// What a dry run expects of the real one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// What reading tokens back found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// What became of the tokens that were to be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// When it began; `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended; `status` only, and null while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Option<DateTime<Utc>>>,
    /// Tokens that a rollback was deleting when it was ended; `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_deletions: Option<PendingDeletions>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// For people: whether the next `migrate` goes on with it, should it have ended early. `None` if the ledger was out of reach.
    #[serde(skip)]
    pub is_taken_up: Option<bool>,
    /// True if it was about all rows, and not only about those that had failed.
    #[serde(skip)]
    pub is_of_all: bool,
    /// For people: codes with an example, most frequent first.
    #[serde(skip)]
    pub failures: Vec<CodeCount>,
    /// The same of warnings.
    #[serde(skip)]
    pub warnings: Vec<CodeCount>,
    /// The same of superseded rows.
    #[serde(skip)]
    pub superseded: Vec<CodeCount>,
}

/// Batches that have an outcome.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Batches {
    /// Stored by the API.
    pub committed: i64,
    /// Refused, or not let through.
    pub failed: i64,
}

impl Summary {
    /// What the ledger knows of a run; `None` if there is no such run.
    ///
    /// # Errors
    /// If there is no ledger, or its database does not answer.
    pub async fn read(access: &LedgerAccess, run: RunId) -> Result<Option<Self>, LedgerError> {
        let mut reader = LedgerReader::open(access).await?;
        let report = reader.run(Some(run)).await?;
        reader.close().await;
        Ok(report.map(|report| Self::from_report(&access.migration, report)))
    }

    /// From the ledger.
    #[must_use]
    pub fn from_report(migration: &str, report: RunReport) -> Self {
        Self {
            run_id: report.run_id,
            migration: migration.to_owned(),
            mode: report.mode,
            status: report.status,
            resumed: report.resumed,
            tokens: report.tally,
            rows_expected: report.rows_expected,
            batches: Batches {
                committed: report.batches_committed,
                failed: report.batches_failed,
            },
            requests: report.requests,
            retries: report.retries,
            rate_limited: report.rate_limited,
            lookups: report.lookups,
            duration_s: report.duration_s,
            failures_by_code: by_code(&report.failures),
            warnings_by_code: by_code(&report.warnings),
            superseded_by_code: by_code(&report.superseded),
            estimate: report.estimate,
            verify: report.verification,
            rollback: report.rollback,
            started_at: None,
            finished_at: None,
            pending_deletions: None,
            stop_reason: report.stop_reason,
            is_taken_up: Some(report.is_taken_up),
            is_of_all: report.selection == "all",
            failures: report.failures,
            warnings: report.warnings,
            superseded: report.superseded,
        }
    }
}

fn by_code(counts: &[CodeCount]) -> BTreeMap<String, i64> {
    counts
        .iter()
        .map(|found| (found.code.clone(), found.count))
        .collect()
}
