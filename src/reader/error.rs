//! Errors of the source.

use thiserror::Error;

use crate::{
    config::Problem,
    domain::SourceKey,
    postgres::{Failure, FailureKind},
};

/// The source cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The configuration does not fit the database.
    #[error("the configuration does not fit the source:{}\nrun `tokenferry doctor` to check everything", list(.0))]
    Misfit(Vec<Problem>),
    /// The database is out of reach or does not let us.
    #[error("the source database returned an error; run `tokenferry doctor` for details")]
    Database(#[from] Failure),
    /// Row-level security would hide rows.
    #[error(
        "row-level security would hide rows of the source from this role{policies}: read as the table's owner or as a role \
         with bypassrls (`alter role … bypassrls`); if the hidden rows are to be left out, or there are none, set `source.row_security = \"allow\"`"
    )]
    RowSecurity {
        /// The known policies and their tables, in parentheses.
        policies: String,
        /// The database's error.
        source: Failure,
    },
    /// It was altered while it was read.
    #[error(
        "the source has changed since it was opened: {what}; rows read before the change are not affected: run again to check \
         all rows"
    )]
    Changed {
        /// The difference.
        what: String,
    },
    /// A page's query failed on the rows themselves.
    #[error(
        "the query for the rows after key {after} failed: check `source.where` (or `source.query`) and the expressions under \
         [source.columns]"
    )]
    Rows {
        /// The last key that was read.
        after: String,
        /// The database's error, without values.
        source: Failure,
    },
    /// The key is null, or does not ascend.
    #[error("`source.key` is not a key: the row after {after} {what}")]
    NotAKey {
        /// The last key that was read.
        after: String,
        /// The fault of the next key.
        what: String,
    },
}

impl SourceError {
    /// Tells whether a value of some row causes it, so that other rows can still be read.
    #[must_use]
    pub fn is_about_a_value(&self) -> bool {
        matches!(self, Self::Rows { source, .. } if source.is_about_a_value())
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| {
        text + "\n  - " + &problem.to_string()
    })
}

pub(super) fn row_error(error: sqlx::Error, after: Option<&SourceKey>) -> SourceError {
    // Its class does not matter: a user's function can raise any error.
    let source = Failure::from(error).without_message();
    match source.kind {
        FailureKind::Rejected | FailureKind::Unexpected => SourceError::Rows {
            after: describe(after),
            source,
        },
        _ => SourceError::Database(source),
    }
}

pub(super) fn not_a_key(previous: Option<&SourceKey>, what: &str) -> SourceError {
    SourceError::NotAKey {
        after: describe(previous),
        what: what.to_owned(),
    }
}

fn describe(key: Option<&SourceKey>) -> String {
    key.map_or_else(|| "(the beginning)".to_owned(), ToString::to_string)
}
