//! Lists of failed tokens as a table, CSV or JSON. Keys and reasons, never a token.

use std::io::Write;

use futures_util::{Stream, TryStreamExt};

use super::{
    advice,
    failure_table::{FailureTable, TableLayout},
};
use crate::{
    domain::{visible, visible_cell, visible_json},
    ledger::{FailedToken, FailureGroup, LedgerError},
};

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For spreadsheets: a header, then a line per token.
    Csv,
    /// For scripts: one array of objects.
    Json,
}

/// The columns, in the order of the fields of [`FailedToken`].
const COLUMNS: [&str; 12] = [
    "source_key",
    "app_id",
    "user_id",
    "tenant_id",
    "refused_by",
    "error_code",
    "reason",
    "attempts",
    "first_seen_at",
    "last_seen_at",
    "severity",
    "superseded_by",
];

/// Writes for each code the number of tokens, the apps and the advice, and the query from `sql`, if any, that
/// selects the rows in the source.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn write_groups(
    out: &mut impl Write,
    groups: &[FailureGroup],
    sql: impl Fn(&FailureGroup) -> Option<String>,
) -> std::io::Result<()> {
    for group in groups {
        let apps: Vec<String> = group
            .apps
            .iter()
            .map(|(app, count)| {
                format!(
                    "{count} {}",
                    app.as_deref().map_or("without an app".into(), visible)
                )
            })
            .collect();
        let severity = match group.severity.as_str() {
            "error" => String::new(),
            other => format!("{other} "),
        };
        writeln!(
            out,
            "{} × {severity}{}: {}",
            group.count(),
            visible(&group.code),
            apps.join(", ")
        )?;
        writeln!(out, "    {}", visible(&group.example))?;
        // Reasons of local rules already include the advice.
        if let Some(advice) = advice(&group.code).filter(|advice| !group.example.ends_with(advice)) {
            writeln!(out, "    → {advice}")?;
        }
        if let Some(sql) = sql(group) {
            writeln!(out, "    {};", visible(&sql))?;
        }
    }
    Ok(())
}

/// Writes the failures as a stream, and returns their number.
///
/// # Errors
/// Fails if the ledger cannot be read or `out` cannot be written.
pub async fn write_failures(
    out: &mut impl Write,
    format: Format,
    layout: TableLayout<'_>,
    mut failures: impl Stream<Item = Result<FailedToken, LedgerError>> + Unpin,
) -> anyhow::Result<usize> {
    let mut count = 0;
    match format {
        Format::Table => {
            let mut table = FailureTable::new(layout);
            while let Some(failure) = failures.try_next().await? {
                count += 1;
                table.add(failure);
            }
            write!(out, "{table}")?;
        }
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            // Written even without rows, so that scripts find the columns.
            csv.write_record(COLUMNS)?;
            while let Some(failure) = failures.try_next().await? {
                count += 1;
                csv.serialize(in_cells(failure))?;
            }
            csv.flush()?;
        }
        Format::Json => {
            write!(out, "[")?;
            while let Some(failure) = failures.try_next().await? {
                write!(out, "{}", if count == 0 { "\n" } else { ",\n" })?;
                write!(out, "{}", visible_json(&serde_json::to_string(&failure)?))?;
                count += 1;
            }
            writeln!(out, "{}]", if count == 0 { "" } else { "\n" })?;
        }
    }
    Ok(count)
}

/// Escapes a failure for a spreadsheet.
fn in_cells(failure: FailedToken) -> FailedToken {
    let cell = |text: Option<String>| text.as_deref().map(visible_cell);
    FailedToken {
        source_key: visible_cell(&failure.source_key),
        app_id: cell(failure.app_id),
        user_id: cell(failure.user_id),
        tenant_id: cell(failure.tenant_id),
        error_code: cell(failure.error_code),
        reason: cell(failure.reason),
        superseded_by: cell(failure.superseded_by),
        ..failure
    }
}
