//! A table that fits its paper: columns that are empty in all rows are left out, and cells are wrapped.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};

/// The most rows of a table; the other formats write all.
pub(super) const TABLE_ROWS: usize = 500;

/// The first rows of a list, and the number of the others.
#[derive(Debug)]
pub(super) struct FittedTable<const COLUMNS: usize> {
    header: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
    more: usize,
}

impl<const COLUMNS: usize> FittedTable<COLUMNS> {
    pub(super) fn new(header: [&'static str; COLUMNS]) -> Self {
        Self {
            header,
            rows: Vec::new(),
            more: 0,
        }
    }

    /// Adds a row, or counts it if there are too many.
    pub(super) fn add(&mut self, row: [String; COLUMNS]) {
        if self.rows.len() == TABLE_ROWS {
            self.more += 1;
        } else {
            self.rows.push(row);
        }
    }

    /// Formats the table for a paper of this many columns; nothing if there are no rows.
    pub(super) fn text(&self, width: usize) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let used: Vec<usize> = (0..COLUMNS)
            .filter(|column| self.rows.iter().any(|row| !row[*column].is_empty()))
            .collect();
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        table.set_header(used.iter().map(|column| self.header[*column]));
        for row in &self.rows {
            table.add_row(used.iter().map(|column| row[*column].as_str()));
        }
        let mut text = format!("{table}\n");
        if self.more > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "… and {} more: `--format csv` or `--format json` writes all",
                self.more
            );
        }
        text
    }
}
