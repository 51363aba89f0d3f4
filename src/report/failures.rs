//! Failed tokens as a table, as CSV or as JSON. Keys and reasons, never a token.

use std::{collections::HashSet, io::Write};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use futures_util::{Stream, TryStreamExt};

use super::advice;
use crate::ledger::{FailedToken, FailureGroup, LedgerError};

/// How failures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For spreadsheets: a line of names, then a line per token.
    Csv,
    /// For scripts: one array of objects.
    Json,
}

/// The columns of [`FailedToken`], in its order.
const COLUMNS: [&str; 10] = [
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
];

/// Beyond this many rows a table is no help; the other formats write all.
const TABLE_ROWS: usize = 500;

/// Writes how many tokens failed by code and app, and what to do about each code that is known.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_groups(out: &mut impl Write, groups: &[FailureGroup]) -> std::io::Result<()> {
    let mut codes: Vec<&str> = groups.iter().map(|group| group.code.as_str()).collect();
    codes.dedup();
    let mut seen = HashSet::new();
    for code in codes.into_iter().filter(|&code| seen.insert(code)) {
        let of_code = || groups.iter().filter(|group| group.code == code);
        let apps: Vec<String> = of_code()
            .map(|group| {
                format!(
                    "{} {}",
                    group.count,
                    group.app_id.as_deref().unwrap_or("without an app")
                )
            })
            .collect();
        writeln!(
            out,
            "{} × {code}: {}",
            of_code().map(|group| group.count).sum::<i64>(),
            apps.join(", ")
        )?;
        if let Some(advice) = advice(code) {
            writeln!(out, "    → {advice}")?;
        }
    }
    Ok(())
}

/// Writes the failures as they come, however many there are; returns how many.
///
/// # Errors
/// If the ledger cannot be read, or `out` cannot be written.
pub async fn write_failures(
    out: &mut impl Write,
    format: Format,
    mut failures: impl Stream<Item = Result<FailedToken, LedgerError>> + Unpin,
) -> anyhow::Result<usize> {
    let mut count = 0;
    match format {
        Format::Table => {
            let mut table = Table::new();
            table.load_style(UTF8_BORDERS_ONLY);
            table.set_header([
                "source key",
                "app",
                "user",
                "tenant",
                "refused by",
                "code",
                "reason",
            ]);
            while let Some(failure) = failures.try_next().await? {
                count += 1;
                if count <= TABLE_ROWS {
                    let cell = Option::unwrap_or_default;
                    table.add_row([
                        failure.source_key,
                        cell(failure.app_id),
                        cell(failure.user_id),
                        cell(failure.tenant_id),
                        cell(failure.refused_by),
                        cell(failure.error_code),
                        cell(failure.reason),
                    ]);
                }
            }
            if count > 0 {
                writeln!(out, "{table}")?;
            }
            if count > TABLE_ROWS {
                writeln!(
                    out,
                    "… and {} more: `--format csv` or `--format json` writes all",
                    count - TABLE_ROWS
                )?;
            }
        }
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            // Written even where no row follows, so that a script finds its columns.
            csv.write_record(COLUMNS)?;
            while let Some(failure) = failures.try_next().await? {
                count += 1;
                csv.serialize(&failure)?;
            }
            csv.flush()?;
        }
        Format::Json => {
            write!(out, "[")?;
            while let Some(failure) = failures.try_next().await? {
                write!(out, "{}", if count == 0 { "\n" } else { ",\n" })?;
                serde_json::to_writer(&mut *out, &failure)?;
                count += 1;
            }
            writeln!(out, "{}]", if count == 0 { "" } else { "\n" })?;
        }
    }
    Ok(count)
}
