//! The history of a token as text for people.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::advice;
use crate::{
    domain::visible,
    ledger::{BatchRecord, History, LastOutcome, RollbackRecord},
};

/// Formats what the ledger knows; `source` is a sentence about the current row.
#[must_use]
pub fn history_text(migration: &str, history: &History, source: &str) -> String {
    let key = visible(&history.source_key);
    let state = match &history.outcome {
        Some(outcome) => outcome.state.as_str(),
        None if history.batches.is_empty() => "no outcome yet",
        None => "in flight",
    };
    let mut text = format!("Row {key} of \"{}\": {state}\n", visible(migration));
    if let Some(outcome) = &history.outcome {
        write_outcome(&mut text, outcome);
    }
    for batch in &history.batches {
        line(&mut text, &format!("batch {}", batch.id), &of_batch(batch));
    }
    for rollback in &history.rollbacks {
        line(&mut text, "rolled back", &of_rollback(rollback));
    }
    for finding in &history.findings {
        let what = format!(
            "{} of run {} ({}), {}: {}: {}",
            finding.severity,
            finding.run_id,
            finding.mode,
            time(finding.found_at),
            visible(&finding.error_code),
            visible(&finding.reason)
        );
        line(&mut text, "noticed", &what);
    }
    line(&mut text, "source", source);
    text
}

fn write_outcome(text: &mut String, outcome: &LastOutcome) {
    let place: Vec<String> = [
        ("app", &outcome.app_id),
        ("user", &outcome.user_id),
        ("tenant", &outcome.tenant_id),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some(format!("{name} {}", visible(id.as_deref()?))))
    .collect();
    if !place.is_empty() {
        line(text, "goes to", &place.join(", "));
    }
    line(text, "first seen", &time(outcome.first_seen_at));
    let times = match outcome.attempts {
        1 => "its first outcome".to_owned(),
        attempts => format!("outcome number {attempts}"),
    };
    let last = format!("{}, in run {}, {times}", time(outcome.updated_at), outcome.run_id);
    line(text, &outcome.state, &last);
    if let (Some(code), Some(by)) = (&outcome.error_code, &outcome.refused_by) {
        let reason = outcome.reason.as_deref().unwrap_or_default();
        line(
            text,
            "refused by",
            &format!("{by}: {}: {}", visible(code), visible(reason)),
        );
        if let Some(advice) = advice(code).filter(|advice| !reason.ends_with(advice)) {
            line(text, "", &format!("→ {advice}"));
        }
    }
}

fn of_batch(batch: &BatchRecord) -> String {
    let mut text = format!(
        "{} in run {}, {} tokens, {} {}, last sent {}",
        batch.state,
        batch.run_id,
        batch.token_count,
        batch.attempts,
        if batch.attempts == 1 {
            "request"
        } else {
            "requests"
        },
        time(batch.submitted_at)
    );
    // Writing to a string cannot fail.
    if let Some(at) = batch.finished_at {
        let _ = write!(text, ", settled {}", time(at));
    }
    if let Some(status) = batch.http_status {
        let _ = write!(text, ", the API responded {status}");
    }
    if let Some(code) = &batch.error_code {
        let reason = batch.reason.as_deref().unwrap_or_default();
        let _ = write!(text, ": {}: {}", visible(code), visible(reason));
    }
    text
}

fn of_rollback(rollback: &RollbackRecord) -> String {
    let mut text = format!(
        "{} by run {}, of run {}",
        rollback.state, rollback.run_id, rollback.of_run
    );
    // Writing to a string cannot fail.
    if let Some(id) = &rollback.token_id {
        let _ = write!(text, ", token ID {}", visible(id));
    }
    let _ = match (&rollback.error_code, rollback.ended_at) {
        (Some(code), _) => write!(
            text,
            ": {}: {}",
            visible(code),
            visible(rollback.reason.as_deref().unwrap_or_default())
        ),
        (None, Some(at)) => write!(text, ", {}", time(at)),
        (None, None) => write!(
            text,
            ", since {}: `tokenferry rollback --run {}` resumes it",
            time(rollback.begun_at),
            rollback.of_run
        ),
    };
    text
}

fn line(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, "  {name:<12}{what}");
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
