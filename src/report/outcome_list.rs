//! The list of all outcomes, as CSV or as JSON lines. Keys and reasons, never a token.

use std::io::Write;

use futures_util::{Stream, TryStreamExt};

use crate::{
    domain::{visible_cell, visible_json},
    ledger::{LedgerError, RowOutcome},
};

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// For spreadsheets: a header, then a line per row.
    Csv,
    /// For scripts: one object per line.
    Json,
}

/// The columns, in the order of the fields of [`RowOutcome`].
const COLUMNS: [&str; 12] = [
    "source_key",
    "app_id",
    "user_id",
    "tenant_id",
    "state",
    "refused_by",
    "code",
    "reason",
    "superseded_by",
    "acknowledgement",
    "run_id",
    "updated_at",
];

/// Writes the outcomes as a stream, and returns their number.
///
/// # Errors
/// Fails if the ledger cannot be read or `out` cannot be written.
pub async fn write_outcomes(
    mut out: impl Write,
    format: ExportFormat,
    mut outcomes: impl Stream<Item = Result<RowOutcome, LedgerError>> + Unpin,
) -> anyhow::Result<usize> {
    let mut count = 0;
    match format {
        ExportFormat::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            csv.write_record(COLUMNS)?;
            while let Some(outcome) = outcomes.try_next().await? {
                csv.serialize(in_cells(outcome))?;
                count += 1;
            }
            csv.flush()?;
        }
        ExportFormat::Json => {
            while let Some(outcome) = outcomes.try_next().await? {
                writeln!(out, "{}", visible_json(&serde_json::to_string(&outcome)?))?;
                count += 1;
            }
            out.flush()?;
        }
    }
    Ok(count)
}

/// Escapes an outcome for a spreadsheet.
fn in_cells(outcome: RowOutcome) -> RowOutcome {
    let cell = |text: Option<String>| text.as_deref().map(visible_cell);
    RowOutcome {
        source_key: visible_cell(&outcome.source_key),
        app_id: cell(outcome.app_id),
        user_id: cell(outcome.user_id),
        tenant_id: cell(outcome.tenant_id),
        code: cell(outcome.code),
        reason: cell(outcome.reason),
        superseded_by: cell(outcome.superseded_by),
        acknowledgement: cell(outcome.acknowledgement),
        ..outcome
    }
}
