//! What can go wrong with the source.

use thiserror::Error;

use crate::{config::Problem, postgres::Failure};

/// The source cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// What is configured does not fit the database.
    #[error("the source does not fit its configuration:{}\n`tokenferry doctor` looks at all of it", list(.0))]
    Misfit(Vec<Problem>),
    /// The database is out of reach or does not let us.
    #[error("the source database does not answer as it should (`tokenferry doctor` looks closer)")]
    Database(#[from] Failure),
    /// A page's query failed on the rows themselves.
    #[error(
        "the source could not produce the rows after key {after}: check the expressions under [source.columns] and `source.where` against them"
    )]
    Rows {
        /// The last key that was read.
        after: String,
        /// What the database said, without values.
        source: Failure,
    },
    /// The key is null, or does not ascend.
    #[error("`source.key` is not a key: the row after {after} {what}")]
    NotAKey {
        /// The last key that was read.
        after: String,
        /// What is wrong with the next one.
        what: String,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| {
        text + "\n  - " + &problem.to_string()
    })
}
