//! Former names of a migration: other migrations in the same ledger that sent tokens to the same target.
//!
//! A renamed migration counts as a new one and uploads everything again.

use std::fmt;

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError};

/// Another migration of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Its name.
    pub migration: String,
    /// Tokens that it has stored at the same target.
    pub tokens: i64,
}

impl fmt::Display for Sibling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({} tokens)", self.migration, self.tokens)
    }
}

impl Ledger {
    /// Returns the other migrations with tokens at `target` if this one has sent none yet. One of them may be
    /// this migration under a former name.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn possible_former_names(&self, target: &str) -> Result<Vec<Sibling>, LedgerError> {
        self.with_retry(|| possible_former_names(&self.pool, &self.migration, target))
            .await
    }
}

impl LedgerDiagnostics {
    /// Returns the same as [`Ledger::possible_former_names`]. The schema must be current.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn possible_former_names(&mut self, target: &str) -> Result<Vec<Sibling>, LedgerError> {
        Ok(possible_former_names(&mut self.reader.connection, &self.reader.migration, target).await?)
    }
}

/// Counts tokens only if this migration has no committed batch: in a large ledger the count takes a while.
async fn possible_former_names(
    executor: impl PgExecutor<'_>,
    migration: &str,
    target: &str,
) -> Result<Vec<Sibling>, sqlx::Error> {
    sqlx::query_as!(
        Sibling,
        r#"select runs.migration, count(*) as "tokens!"
           from tokens join runs on runs.id = tokens.run_id
           where tokens.state = 'committed' and runs.migration <> $1 and coalesce(nullif(runs.api, ''), $2) = $2
             and not exists (
                 select from batches join runs as mine on mine.id = batches.run_id
                 where mine.migration = $1 and batches.state = 'committed'
             )
           group by runs.migration order by count(*) desc, runs.migration"#,
        migration,
        target,
    )
    .fetch_all(executor)
    .await
}
