//! Failed tokens as a table that fits its paper. A reason that was given above it is not repeated.

use std::fmt;

use super::fitted_table::FittedTable;
use crate::{
    domain::visible,
    ledger::{FailedToken, FailureGroup},
};

/// The paper of a table, and what stands above it.
#[derive(Debug, Clone, Copy)]
pub struct TableLayout<'a> {
    /// The columns of the paper.
    pub columns: usize,
    /// The groups whose reasons were given.
    pub told: &'a [FailureGroup],
}

/// The first rows of a list of failures.
#[derive(Debug)]
pub(super) struct FailureTable<'a> {
    layout: TableLayout<'a>,
    table: FittedTable<8>,
}

const HEADER: [&str; 8] = [
    "source key",
    "app",
    "user",
    "tenant",
    "refused by",
    "severity",
    "code",
    "reason",
];

impl<'a> FailureTable<'a> {
    pub(super) fn new(layout: TableLayout<'a>) -> Self {
        Self {
            layout,
            table: FittedTable::new(HEADER),
        }
    }

    /// Adds a row, or counts it if there are too many.
    pub(super) fn add(&mut self, failure: FailedToken) {
        let severity = match failure.acknowledged_at {
            Some(_) => "acknowledged".to_owned(),
            None => failure.severity,
        };
        let is_told = self.layout.told.iter().any(|group| {
            (Some(&group.code), Some(&group.example))
                == (failure.error_code.as_ref(), failure.reason.as_ref())
                && group.severity == severity
        });
        let cell = |text: Option<String>| text.as_deref().map(visible).unwrap_or_default();
        let is_error = severity == "error";
        self.table.add([
            visible(&failure.source_key),
            cell(failure.app_id),
            cell(failure.user_id),
            cell(failure.tenant_id),
            cell(failure.refused_by),
            if is_error { String::new() } else { severity },
            cell(failure.error_code),
            if is_told {
                String::new()
            } else {
                cell(failure.reason)
            },
        ]);
    }
}

impl fmt::Display for FailureTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table.text(self.layout.columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(key: &str, reason: &str) -> FailedToken {
        FailedToken {
            source_key: key.to_owned(),
            app_id: Some("google-calendar".to_owned()),
            user_id: Some("auth0|5f7c8ec7c33c6c004bbafe82".to_owned()),
            tenant_id: None,
            refused_by: Some("validation".to_owned()),
            error_code: Some("expiry_out_of_range".to_owned()),
            reason: Some(reason.to_owned()),
            attempts: 0,
            first_seen_at: chrono::Utc::now(),
            last_seen_at: chrono::Utc::now(),
            severity: "error".to_owned(),
            superseded_by: None,
            acknowledged_at: None,
            acknowledgement: None,
        }
    }

    #[test]
    fn a_table_fits_eighty_columns_and_repeats_no_reason() {
        let told = [FailureGroup {
            severity: "error".to_owned(),
            code: "expiry_out_of_range".to_owned(),
            apps: Vec::new(),
            example: "the expiry is after 2038-01-19".to_owned(),
            keys: Vec::new(),
            keys_sql: String::new(),
        }];
        let mut table = FailureTable::new(TableLayout {
            columns: 80,
            told: &told,
        });
        table.add(failure("5c1a3e0e-8f5d-4f3b-9e43-0f7f1f3f5a11", &told[0].example));
        let text = table.to_string();
        assert!(!text.contains("reason") && !text.contains("tenant"), "{text}");
        table.add(failure(
            "6",
            "another reason, which is longer than the paper is wide, and wrapped between words",
        ));
        let text = table.to_string();
        assert!(text.contains("another") && !text.contains("2038"), "{text}");
        assert!(
            text.lines().all(|line| console::measure_text_width(line) <= 80),
            "{text}"
        );
    }
}
