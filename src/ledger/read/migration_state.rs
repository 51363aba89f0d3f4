//! The state of a migration: what became of the rows of its source, whatever run it was.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{LedgerError, LedgerReader};
use crate::{
    domain::{Mode, RunId},
    ledger::LockKind,
};

/// How far a migration is.
#[derive(Debug, Clone, Serialize)]
pub struct MigrationState {
    /// Rows of the source: counted by the last run that read all of them, otherwise as the latest run
    /// expected.
    pub source_rows: Option<i64>,
    /// No run has read all rows yet.
    pub is_estimate: bool,
    /// The run that counted the rows.
    pub counted_by: Option<RunId>,
    /// When it ended.
    pub counted_at: Option<DateTime<Utc>>,
    /// Tokens that are stored.
    pub committed: i64,
    /// Tokens whose last outcome is a failure.
    pub failed: i64,
    /// Those of them whose failure is acknowledged.
    pub acknowledged: i64,
    /// Rows that were left out for other tokens.
    pub superseded: i64,
    /// Rows without an outcome; `None` if their number is unknown.
    pub pending: Option<i64>,
    /// Rows that the last complete migration did not send, since they were stored and unchanged.
    pub skipped: i64,
    /// Batches whose outcome is unknown.
    pub batches_in_flight: i64,
    /// The process that works on it now.
    pub active: Option<ActiveRun>,
}

/// A run that a process works on.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveRun {
    /// The run.
    pub run_id: RunId,
    /// `migrate`, or `rollback`.
    pub mode: String,
    /// The process and its host.
    pub holder: String,
    /// When it took the run up.
    pub since: DateTime<Utc>,
    /// When it last recorded progress.
    pub progressed_at: DateTime<Utc>,
}

/// The numbers of tokens by state.
#[derive(Debug, Clone, Copy)]
struct Tokens {
    committed: i64,
    failed: i64,
    superseded: i64,
}

impl LedgerReader {
    /// Returns the state of the migration.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn migration_state(&mut self) -> Result<MigrationState, LedgerError> {
        let tokens = self.tokens_by_state().await?;
        let counted = sqlx::query!(
            r#"select id, mode = 'migrate' as "is_migration!", tokens_selected, finished_at from runs
               where migration = $1 and selection = 'all' and status in ('completed', 'completed_with_failures')
                 -- A dry run of a part of the rows has a stop reason.
                 and (mode = 'migrate' or mode = 'dry_run' and stop_reason is null)
               order by id desc limit 1"#,
            self.migration,
        )
        .fetch_optional(&mut self.connection)
        .await?;
        let rest = sqlx::query!(
            r#"select (select expected_rows from runs
                       where migration = $1 and mode in ('migrate', 'dry_run') and selection = 'all' and id > $2
                         and expected_rows is not null
                       order by id desc limit 1) as expected_since,
                      coalesce((select tokens_unchanged from runs
                                where migration = $1 and mode = 'migrate' and selection = 'all'
                                  and status in ('completed', 'completed_with_failures')
                                order by id desc limit 1), 0) as "skipped!",
                      (select count(*) from acknowledged where acknowledged.migration = $1) as "acknowledged!",
                      (select count(*) from batches join runs on runs.id = run_id
                       where batches.state = 'in_flight' and runs.migration = $1) as "in_flight!""#,
            self.migration,
            counted.as_ref().map_or(0, |run| run.id),
        )
        .fetch_one(&mut self.connection)
        .await?;
        let source_rows = counted
            .as_ref()
            .map(|run| run.tokens_selected)
            .or(rest.expected_since);
        // A run that has not ended yet may know of more rows.
        let known_rows = source_rows.max(rest.expected_since);
        let settled = tokens.committed + tokens.failed + tokens.superseded;
        // When that migration ended, every row had an outcome.
        let is_settled = counted.as_ref().is_some_and(|run| run.is_migration) && known_rows == source_rows;
        Ok(MigrationState {
            source_rows,
            is_estimate: counted.is_none(),
            counted_by: counted.as_ref().map(|run| run.id),
            counted_at: counted.and_then(|run| run.finished_at),
            committed: tokens.committed,
            failed: tokens.failed,
            acknowledged: rest.acknowledged,
            superseded: tokens.superseded,
            // Rows that are gone from the source still have their outcomes, so that those of others cannot
            // be told.
            pending: match known_rows.map(|rows| rows - settled) {
                Some(pending) if pending < 0 => is_settled.then_some(0),
                pending => pending,
            },
            skipped: rest.skipped,
            batches_in_flight: rest.in_flight,
            active: self.active_run().await?,
        })
    }

    /// Counts packed tokens without taking their batches apart.
    async fn tokens_by_state(&mut self) -> Result<Tokens, sqlx::Error> {
        sqlx::query_as!(
            Tokens,
            r#"select count(*) filter (where state = 'committed')
                      + (select coalesce(sum(token_count - coalesce(cardinality(moved), 0)), 0)::bigint
                         from batches join runs on runs.id = run_id
                         where key_range is not null and runs.migration = $1) as "committed!",
                      count(*) filter (where state = 'failed') as "failed!",
                      count(*) filter (where state = 'superseded') as "superseded!"
               from token_rows where migration = $1"#,
            self.migration,
        )
        .fetch_one(&mut self.connection)
        .await
    }

    /// Returns the run that changes tokens now: it says that it is running, and its lock is held.
    async fn active_run(&mut self) -> Result<Option<ActiveRun>, LedgerError> {
        let found = sqlx::query_as!(
            ActiveRun,
            r#"select id as run_id, mode, holder, held_since as since, progressed_at
               from runs where migration = $1 and mode = any($2) and status = 'running'
               order by id desc limit 1"#,
            self.migration,
            &[Mode::Migrate.as_str(), Mode::Rollback.as_str()] as &[&str],
        )
        .fetch_optional(&mut self.connection)
        .await?;
        match found {
            Some(run) if self.is_held(LockKind::Migration).await? => Ok(Some(run)),
            _ => Ok(None),
        }
    }
}
