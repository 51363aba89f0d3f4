//! Other migrations of the same ledger, whose tokens went to the same place.
//!
//! What they sent stands at the same destinations. A migration that was renamed is a new one, and sends everything again.

use std::fmt;

use sqlx::PgExecutor;

use super::{Ledger, LedgerDiagnostics, LedgerError};

/// Another migration of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Its name.
    pub migration: String,
    /// Tokens that it has stored at the same place.
    pub tokens: i64,
}

impl fmt::Display for Sibling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({} tokens)", self.migration, self.tokens)
    }
}

impl Ledger {
    /// The other migrations that have tokens at `target`, if this one has sent none yet: one of them may be this one under a
    /// former name.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn possible_former_names(&self, target: &str) -> Result<Vec<Sibling>, LedgerError> {
        self.with_retry(|| possible_former_names(&self.pool, &self.migration, target))
            .await
    }
}

impl LedgerDiagnostics {
    /// The same. Only of a ledger that is up to date.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn possible_former_names(&mut self, target: &str) -> Result<Vec<Sibling>, LedgerError> {
        Ok(possible_former_names(&mut self.reader.connection, &self.reader.migration, target).await?)
    }
}

/// Tokens are counted only where it comes to that: in a large ledger it takes a while.
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
