//! Changes between the failures of two runs, as a table, CSV or JSON.

use std::{collections::BTreeMap, io::Write};

use futures_util::{Stream, TryStreamExt};

use super::{Format, fitted_table::FittedTable};
use crate::{
    domain::{visible, visible_cell, visible_json},
    ledger::{FailureChange, LedgerError},
};

/// The columns, in the order of the fields of [`FailureChange`].
const COLUMNS: [&str; 9] = [
    "change",
    "source_key",
    "app_id",
    "user_id",
    "tenant_id",
    "refused_by",
    "error_code",
    "reason",
    "error_code_before",
];

/// Writes the changes as a stream, a table for a paper of `columns`, and returns their numbers by kind.
///
/// # Errors
/// Fails if the ledger cannot be read or `out` cannot be written.
pub async fn write_changes(
    mut out: impl Write,
    format: Format,
    columns: usize,
    mut changes: impl Stream<Item = Result<FailureChange, LedgerError>> + Unpin,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    match format {
        Format::Table => {
            let mut table = FittedTable::new([
                "change",
                "source key",
                "app",
                "user",
                "tenant",
                "code",
                "before",
                "reason",
            ]);
            while let Some(change) = changes.try_next().await? {
                *counts.entry(change.change.clone()).or_default() += 1;
                let cell = |text: Option<String>| text.as_deref().map(visible).unwrap_or_default();
                table.add([
                    change.change.replace('_', " "),
                    visible(&change.source_key),
                    cell(change.app_id),
                    cell(change.user_id),
                    cell(change.tenant_id),
                    cell(change.error_code),
                    cell(change.error_code_before),
                    cell(change.reason),
                ]);
            }
            write!(out, "{}", table.text(columns))?;
            out.flush()?;
        }
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            csv.write_record(COLUMNS)?;
            while let Some(change) = changes.try_next().await? {
                *counts.entry(change.change.clone()).or_default() += 1;
                csv.serialize(in_cells(change))?;
            }
            csv.flush()?;
        }
        Format::Json => {
            let mut total = 0;
            write!(out, "[")?;
            while let Some(change) = changes.try_next().await? {
                write!(out, "{}", if total == 0 { "\n" } else { ",\n" })?;
                write!(out, "{}", visible_json(&serde_json::to_string(&change)?))?;
                *counts.entry(change.change).or_default() += 1;
                total += 1;
            }
            writeln!(out, "{}]", if total == 0 { "" } else { "\n" })?;
            out.flush()?;
        }
    }
    Ok(counts)
}

/// Escapes a change for a spreadsheet.
fn in_cells(change: FailureChange) -> FailureChange {
    let cell = |text: Option<String>| text.as_deref().map(visible_cell);
    FailureChange {
        source_key: visible_cell(&change.source_key),
        app_id: cell(change.app_id),
        user_id: cell(change.user_id),
        tenant_id: cell(change.tenant_id),
        error_code: cell(change.error_code),
        reason: cell(change.reason),
        error_code_before: cell(change.error_code_before),
        ..change
    }
}
