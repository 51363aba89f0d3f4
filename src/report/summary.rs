//! A run in one object for scripts, and in a few lines for people.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    advice, after_an_early_end, rollback_text,
    unread::{is_complete, unread},
    verify_text,
};
use crate::{
    config::LedgerAccess,
    domain::{Estimate, Mode, PendingDeletions, Rollback, RunId, Tally, Verification, visible},
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
    /// Whether more than one process worked on it.
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
    /// Whether it was about all rows, and not only about those that had failed.
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

    /// A few lines that a person understands.
    #[must_use]
    pub fn text(&self) -> String {
        let (mode, headline) = match self.mode {
            Mode::Verify => (" (verification)", verify_text::headline(self)),
            Mode::Rollback => (" (rollback)", rollback_text::headline(self)),
            Mode::DryRun => (" (dry run)", self.headline()),
            Mode::Migrate => ("", self.headline()),
        };
        let mut text = format!(
            "Run {} of \"{}\"{mode}: {headline}\n",
            self.run_id,
            visible(&self.migration)
        );
        match (&self.verify, &self.rollback) {
            (Some(found), _) => verify_text::write(&mut text, self, found),
            (None, Some(found)) => rollback_text::write(&mut text, self, found),
            (None, None) => {
                self.write_books(&mut text);
                self.write_work(&mut text);
            }
        }
        if let Some(reason) = &self.stop_reason {
            let _ = writeln!(text, "  ended early: {}", visible(reason));
        }
        if let Some(unread) = unread(self) {
            let _ = writeln!(text, "  {unread}");
        }
        for found in &self.failures {
            write_code(&mut text, found, "");
        }
        for found in &self.warnings {
            write_code(&mut text, found, "warning ");
        }
        for found in &self.superseded {
            write_code(&mut text, found, "superseded ");
        }
        self.write_next_step(&mut text);
        text
    }

    // Writing to a text cannot fail.
    fn write_books(&self, text: &mut String) {
        let tokens = &self.tokens;
        let mut row = |name: &str, count: i64, what: &str| {
            if count > 0 || name == "selected" || name == "committed" {
                let _ = writeln!(text, "  {name:<11}{:>12}   {what}", grouped(count));
            }
        };
        let (committed, failed) = if self.is_dry() {
            ("would be uploaded", "would not be uploaded; reasons below")
        } else {
            ("stored by Descope", "not stored; reasons below")
        };
        row("selected", tokens.selected, "rows read from the source");
        row("committed", tokens.committed, committed);
        row(
            "unchanged",
            tokens.unchanged,
            "stored by an earlier run, and the same today",
        );
        row(
            "superseded",
            tokens.superseded,
            "left out for other tokens; reasons below",
        );
        row("failed", tokens.failed, failed);
    }

    fn write_work(&self, text: &mut String) {
        let took = humantime::format_duration(rounded(self.duration_s));
        if self.lookups > 0 {
            let noun = if self.lookups == 1 { "lookup" } else { "lookups" };
            let _ = writeln!(
                text,
                "  {} {noun} of licence, users, apps and tenants",
                grouped(self.lookups)
            );
        }
        if let Some(estimate) = self.estimate.filter(|estimate| estimate.fetches > 0) {
            let _ = writeln!(
                text,
                "  {} tokens would be fetched from where Descope keeps them; whether it has them is not asked, and their bytes are \
                 not among those below",
                grouped(estimate.fetches),
            );
        }
        if let Some(estimate) = &self.estimate {
            let _ = writeln!(
                text,
                "  {} batches, {} requests{}, {}, {} at the configured rate; nothing was sent ({took} to find out)",
                grouped(estimate.batches),
                grouped(estimate.requests),
                single_requests(estimate.single_requests),
                bytesize::ByteSize::b(estimate.bytes.unsigned_abs()),
                humantime::format_duration(rounded(estimate.duration_s)),
            );
        }
        if self.is_dry() {
            return;
        }
        let pace = if self.duration_s > 0.0 {
            self.tokens.committed as f64 / self.duration_s
        } else {
            0.0
        };
        let _ = writeln!(
            text,
            "  {} requests ({} retries, {} times rate limited), {} batches committed, {} refused, {took} ({pace:.0} tokens/s)",
            grouped(self.requests),
            grouped(self.retries),
            grouped(self.rate_limited),
            grouped(self.batches.committed),
            grouped(self.batches.failed),
        );
    }

    fn write_next_step(&self, text: &mut String) {
        let run = self.run_id;
        if !self.superseded.is_empty() {
            let _ = writeln!(
                text,
                "  `tokenferry failures --run {run} --superseded` lists every row that is left out."
            );
        }
        let nothing_found = self.failures.is_empty() && self.warnings.is_empty();
        let _ = match (self.is_dry(), nothing_found) {
            _ if self.reads_back() && nothing_found => Ok(()),
            _ if self.reads_back() => {
                writeln!(text, "  `tokenferry failures --run {run}` lists every row.")
            }
            (true, true) if !is_complete(self) => writeln!(
                text,
                "  No problem was found in what was looked at. Repeat the dry run to look at the rest."
            ),
            (true, true) => writeln!(text, "  No problem was found. `tokenferry migrate` does it."),
            (true, false) => writeln!(
                text,
                "  `tokenferry failures --run {run}` lists every row. Fix or exclude what you can, and repeat the dry run as \
                 often as you like; `tokenferry migrate` uploads the rest."
            ),
            (false, _) if !self.failures.is_empty() => writeln!(
                text,
                "  `tokenferry failures --run {run}` lists every row. Fix them and run `tokenferry migrate` again: only what is \
                 new, changed or failed is sent.",
            ),
            (false, _) if self.status == "completed" && self.tokens.committed > 0 => writeln!(
                text,
                "  `tokenferry verify --sample 200` reads some of them back and compares them with the source."
            ),
            (false, _) => Ok(()),
        };
    }

    /// Its problems are no failed uploads.
    fn reads_back(&self) -> bool {
        matches!(self.mode, Mode::Verify | Mode::Rollback)
    }

    fn is_dry(&self) -> bool {
        self.mode == Mode::DryRun
    }

    fn headline(&self) -> Cow<'_, str> {
        let all = self.tokens.superseded == 0;
        let headline = match (self.status.as_str(), self.is_dry()) {
            // "Every token" is said only where no row was left out.
            ("completed", false) if !self.is_of_all => {
                "completed, what had failed and was sent again has arrived; no other rows were looked at"
            }
            ("completed", false) if !is_complete(self) => "completed, but rows seem to be missing",
            ("completed", false) if all => "completed, every token has arrived",
            ("completed", false) => {
                "completed, every token has arrived that was not left out for another one"
            }
            ("completed", true) if !is_complete(self) => "completed as far as asked for",
            ("completed", true) if all => "completed, nothing stands in the way",
            ("completed", true) => {
                "completed, nothing stands in the way of the tokens that are not left out for others"
            }
            ("completed_with_failures", false) => "completed, some tokens failed",
            ("completed_with_failures", true) => "completed, some tokens would fail",
            (early @ ("interrupted" | "stopped"), _) => {
                return format!("{early}; {}", after_an_early_end(self.mode, self.is_taken_up)).into();
            }
            (other, _) => other,
        };
        headline.into()
    }
}

fn by_code(counts: &[CodeCount]) -> BTreeMap<String, i64> {
    counts
        .iter()
        .map(|found| (found.code.clone(), found.count))
        .collect()
}

fn write_code(text: &mut String, found: &CodeCount, what: &str) {
    let _ = writeln!(
        text,
        "  {:>8} × {what}{}: {}",
        grouped(found.count),
        visible(&found.code),
        visible(&found.example)
    );
    // The reasons of local rules say it already.
    if let Some(advice) = advice(&found.code).filter(|advice| !found.example.ends_with(advice)) {
        let _ = writeln!(text, "             → {advice}");
    }
}

/// What a canary, or `batch.verify_refresh`, adds to the requests.
fn single_requests(count: i64) -> String {
    if count > 0 {
        format!(" ({} of them for one token each)", grouped(count))
    } else {
        String::new()
    }
}

/// To the millisecond below ten seconds, to the second above.
pub(super) fn rounded(seconds: f64) -> Duration {
    let exact = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if exact.as_secs() >= 10 {
        Duration::from_secs(exact.as_secs())
    } else {
        Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX))
    }
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
