//! The summary of a run as text.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    advice, after_an_early_end,
    numbers::{counted, grouped, rounded},
    rollback_text,
    unread::{is_complete, unread},
    verify_text,
};
use crate::domain::{CodeCount, Mode, Summary, visible};

impl Summary {
    /// Formats the summary in a few lines.
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
        if self.batches_in_flight > 0 {
            let _ = writeln!(text, "  {}", in_flight(self.batches_in_flight, &self.status));
        }
        for found in &self.new_failures() {
            write_code(&mut text, found, "");
        }
        for found in &self.acknowledged {
            write_known(&mut text, found);
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

    // Writing to a string cannot fail.
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
            "stored by an earlier run and unchanged",
        );
        row(
            "superseded",
            tokens.superseded,
            "left out for other tokens; reasons below",
        );
        let known = self.acknowledged_tokens();
        row("failed", tokens.failed - known, failed);
        row("known", known, "not stored, and acknowledged; reasons below");
    }

    fn write_work(&self, text: &mut String) {
        let took = humantime::format_duration(rounded(self.counters.active_seconds));
        if self.counters.lookups > 0 {
            let _ = writeln!(
                text,
                "  {} of licence, users, apps and tenants",
                counted(self.counters.lookups, "lookup", "lookups")
            );
        }
        if let Some(estimate) = self.estimate.filter(|estimate| estimate.fetches > 0) {
            let _ = writeln!(
                text,
                "  {} would be fetched from Descope; a dry run does not check that they exist, and their bytes are \
                 not included below",
                counted(estimate.fetches, "token", "tokens"),
            );
        }
        if let Some(estimate) = &self.estimate {
            let _ = writeln!(
                text,
                "  {}{}, {}{}, {}, {} at the configured rate; nothing was sent ({took} for the dry run)",
                if estimate.at_most { "at most " } else { "" },
                counted(estimate.batches, "batch", "batches"),
                counted(estimate.requests, "request", "requests"),
                single_requests(estimate.single_requests),
                bytesize::ByteSize::b(estimate.bytes.unsigned_abs()),
                humantime::format_duration(rounded(estimate.duration_s)),
            );
            if estimate.requests > 0 {
                let _ = writeln!(
                    text,
                    "  The number of requests and `api.rate_limit` decide how long it takes.{}",
                    if estimate.at_most {
                        " Batches grow up to `batch.grow_to` tokens while the API accepts them, and larger ones are fewer requests."
                    } else {
                        ""
                    }
                );
            }
        }
        if self.is_dry() {
            return;
        }
        let pace = if self.counters.active_seconds > 0.0 {
            self.tokens.committed as f64 / self.counters.active_seconds
        } else {
            0.0
        };
        let _ = writeln!(
            text,
            "  {} ({}, {} rate limited), {} committed, {} rejected, {took} ({pace:.0} tokens/s)",
            counted(self.counters.requests, "request", "requests"),
            counted(self.counters.retries, "retry", "retries"),
            counted(self.counters.rate_limited, "time", "times"),
            counted(self.batches.committed, "batch", "batches"),
            grouped(self.batches.failed),
        );
    }

    fn write_next_step(&self, text: &mut String) {
        let run = self.run_id;
        if !self.superseded.is_empty() {
            let _ = writeln!(
                text,
                "  `tokenferry failures --run {run} --superseded` lists every row that was left out."
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
                "  No problem was found in the rows that were read. Repeat the dry run to check the rest."
            ),
            (true, true) => writeln!(text, "  No problem was found. Run `tokenferry migrate`."),
            (true, false) if self.failures.is_empty() && is_complete(self) => writeln!(
                text,
                "  `tokenferry failures --run {run}` lists every row with a warning. All would be uploaded: run `tokenferry migrate`."
            ),
            (true, false) => writeln!(
                text,
                "  `tokenferry failures --run {run}` lists every row. Fix or exclude what you can and repeat the dry run; \
                 `tokenferry migrate` uploads the rest."
            ),
            (false, _) if self.has_new_failures() => writeln!(
                text,
                "  `tokenferry failures --run {run}` lists every row. Fix them and run `tokenferry migrate` again: only new, \
                 changed or failed rows are sent.",
            ),
            (false, _) if self.status == "completed" && self.tokens.committed > 0 => writeln!(
                text,
                "  `tokenferry verify --sample 200` reads some of them back and compares them with the source."
            ),
            (false, _) => Ok(()),
        };
    }

    /// Returns true if the problems are not failed uploads.
    fn reads_back(&self) -> bool {
        matches!(self.mode, Mode::Verify | Mode::Rollback)
    }

    fn is_dry(&self) -> bool {
        self.mode == Mode::DryRun
    }

    fn headline(&self) -> Cow<'_, str> {
        let all = self.tokens.superseded == 0;
        let headline = match (self.status.as_str(), self.is_dry()) {
            // "Every token" only if no row was left out.
            ("completed", false) if !self.is_of_all => {
                "completed, the retried tokens have arrived; no other rows were read"
            }
            ("completed", false) if !is_complete(self) => "completed, but rows seem to be missing",
            ("completed", false) if all => "completed, every token has arrived",
            ("completed", false) => "completed, every token has arrived except those left out for others",
            ("completed", true) if !is_complete(self) => "completed as far as requested",
            ("completed", true) if all => "completed, no problem found",
            ("completed", true) => "completed, no problem found; some rows are left out for other tokens",
            ("completed_with_failures", false) if !self.has_new_failures() => {
                "completed, no token failed except those that are acknowledged"
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

fn write_code(text: &mut String, found: &CodeCount, what: &str) {
    let _ = writeln!(
        text,
        "  {:>8} × {what}{}: {}",
        grouped(found.count),
        visible(&found.code),
        visible(&found.example)
    );
    // Reasons of local rules already include the advice.
    if let Some(advice) = advice(&found.code).filter(|advice| !found.example.ends_with(advice)) {
        let _ = writeln!(text, "             → {advice}");
    }
}

/// Writes acknowledged failures with the reason for accepting them.
fn write_known(text: &mut String, found: &CodeCount) {
    let _ = writeln!(
        text,
        "  {:>8} × acknowledged {}: {}",
        grouped(found.count),
        visible(&found.code),
        visible(&found.example)
    );
}

/// Says what becomes of batches without an outcome.
fn in_flight(batches: i64, status: &str) -> String {
    let (noun, them) = if batches == 1 {
        ("batch is", "it")
    } else {
        ("batches are", "them")
    };
    let next = match status {
        "running" => String::new(),
        _ => format!(": the next run settles {them} before it sends anything"),
    };
    format!("{} {noun} in flight{next}", grouped(batches))
}

/// Describes the requests added by a canary or `batch.verify_refresh`.
fn single_requests(count: i64) -> String {
    if count > 0 {
        format!(" ({} of them for one token each)", grouped(count))
    } else {
        String::new()
    }
}
