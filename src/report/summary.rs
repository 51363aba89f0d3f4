//! The summary of a run: one object for scripts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    config::LedgerAccess,
    domain::{Estimate, Mode, PendingDeletions, Rollback, RunId, Tally, Verification},
    ledger::{CodeCount, LedgerError, LedgerReader, RunReport},
};

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
    /// The number of rows when a process started: counted, or estimated by the planner if counting takes too
    /// long.
    pub rows_expected: Option<i64>,
    /// Batches that have an outcome.
    pub batches: Batches,
    /// Requests that uploaded tokens, read them back or deleted them.
    pub requests: i64,
    /// Requests that repeated an earlier one.
    pub retries: i64,
    /// Responses with status 429.
    pub rate_limited: i64,
    /// Lookups, which are not included in `requests`.
    pub lookups: i64,
    /// Seconds of work of all processes.
    pub duration_s: f64,
    /// Failed tokens by code; for a dry run, tokens that would fail.
    pub failures_by_code: BTreeMap<String, i64>,
    /// Uploaded tokens with warnings, by code.
    pub warnings_by_code: BTreeMap<String, i64>,
    /// Rows left out for another token, by code; for a dry run, rows that would be.
    pub superseded_by_code: BTreeMap<String, i64>,
    /// The estimate of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The results of a verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// The results of a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The start; `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// The end; `status` only, null while the run works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Option<DateTime<Utc>>>,
    /// Tokens that a rollback was deleting when it ended; `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_deletions: Option<PendingDeletions>,
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
    /// For people: codes with an example, most frequent first.
    #[serde(skip)]
    pub failures: Vec<CodeCount>,
    /// The same for warnings.
    #[serde(skip)]
    pub warnings: Vec<CodeCount>,
    /// The same for superseded rows.
    #[serde(skip)]
    pub superseded: Vec<CodeCount>,
}

/// Batches that have an outcome.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Batches {
    /// Stored by the API.
    pub committed: i64,
    /// Rejected, or failed without a response.
    pub failed: i64,
}

impl Summary {
    /// Reads a run from the ledger; `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if there is no ledger or its database does not respond.
    pub async fn read(access: &LedgerAccess, run: RunId) -> Result<Option<Self>, LedgerError> {
        let mut reader = LedgerReader::open(access).await?;
        let report = reader.run(Some(run)).await?;
        reader.close().await;
        Ok(report.map(|report| Self::from_report(&access.migration, report)))
    }

    /// Converts the ledger's report.
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
