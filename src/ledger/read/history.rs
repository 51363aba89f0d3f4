//! The history of single tokens.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{LedgerError, LedgerReader};
use crate::{
    domain::{RunId, SourceKey},
    ledger::order_key::order_key,
    secret::Fingerprint,
};

/// Everything that the ledger holds of one source row.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// The row.
    pub source_key: String,
    /// Its last outcome, if it has one.
    pub outcome: Option<LastOutcome>,
    /// The batches it was in, latest first: the batch of its last outcome, the rejected batches before that,
    /// and a batch in flight.
    pub batches: Vec<BatchRecord>,
    /// Outcomes of rollbacks, latest first.
    pub rollbacks: Vec<RollbackRecord>,
    /// Findings, latest first.
    pub findings: Vec<FindingRecord>,
}

/// The last outcome of a token.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct LastOutcome {
    pub state: String,
    pub app_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant_id: Option<String>,
    pub refused_by: Option<String>,
    pub error_code: Option<String>,
    pub reason: Option<String>,
    pub run_id: RunId,
    pub attempts: i32,
    pub first_seen_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(skip)]
    fingerprint: Option<Vec<u8>>,
}

/// A batch that a token was in.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct BatchRecord {
    pub id: i64,
    pub run_id: RunId,
    pub state: String,
    pub token_count: i32,
    pub attempts: i32,
    pub http_status: Option<i32>,
    pub error_code: Option<String>,
    pub reason: Option<String>,
    pub submitted_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// The outcome of a token in a rollback.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct RollbackRecord {
    pub run_id: RunId,
    pub of_run: RunId,
    pub state: String,
    pub token_id: Option<String>,
    pub error_code: Option<String>,
    pub reason: Option<String>,
    pub begun_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// A finding about a token.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct FindingRecord {
    pub run_id: RunId,
    pub mode: String,
    pub severity: String,
    pub error_code: String,
    pub reason: String,
    pub found_at: DateTime<Utc>,
}

impl History {
    /// The row's key.
    #[must_use]
    pub fn key(&self) -> SourceKey {
        SourceKey::from(self.source_key.as_str())
    }

    /// Returns the fingerprint of the token that was sent last, if there is one.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let bytes = self.outcome.as_ref()?.fingerprint.as_deref()?;
        Fingerprint::from_slice(bytes)
    }
}

impl LedgerReader {
    /// Returns the history of the row with this key and of the tokens of the user or tenant with this ID, and
    /// the number of rows beyond `most`.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn history(&mut self, of: &str, most: usize) -> Result<(Vec<History>, usize), LedgerError> {
        let mut keys = self.keys_of(of).await?;
        let more = keys.len().saturating_sub(most);
        keys.truncate(most);
        let mut histories = Vec::with_capacity(keys.len());
        for source_key in keys {
            let outcome = self.outcome(&source_key).await?;
            let batches = self.batches_of(&source_key).await?;
            let rollbacks = self.rollbacks_of(&source_key).await?;
            let findings = self.findings_of(&source_key).await?;
            histories.push(History {
                source_key,
                outcome,
                batches,
                rollbacks,
                findings,
            });
        }
        Ok((histories, more))
    }

    async fn keys_of(&mut self, of: &str) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select source_key as "source_key!" from (
                   select source_key from token_rows
                   where migration = $1 and (source_key = $2 or user_id = $2 or tenant_id = $2)
                   union
                   select source_key from findings join runs on runs.id = run_id
                   where migration = $1 and (source_key = $2 or user_id = $2 or tenant_id = $2)
                   union
                   select source_key from rollbacks join runs on runs.id = run_id
                   where migration = $1 and (source_key = $2 or user_id = $2 or tenant_id = $2)
                   union
                   -- Of packed tokens and of those in flight. An array, so that only these batches are taken apart.
                   select source_key from batch_tokens
                   where batch_id = any (array(
                             select id from batches
                             where source_keys is not null
                               and (key_range @> $3::text or state = 'in_flight' or $2 = any (user_ids) or $2 = any (tenant_ids))
                         ))
                     and migration = $1 and (source_key = $2 or user_id = $2 or tenant_id = $2)
               ) as known
               order by source_key <> $2, length(source_key), source_key"#,
            self.migration,
            of,
            &*order_key(of),
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn outcome(&mut self, key: &str) -> Result<Option<LastOutcome>, sqlx::Error> {
        sqlx::query_as!(
            LastOutcome,
            r#"select state as "state!", app_id, user_id, tenant_id, refused_by, error_code, reason, run_id as "run_id!",
                      attempts as "attempts!", first_seen_at as "first_seen_at!", updated_at as "updated_at!", fingerprint
               from token_rows where migration = $1 and source_key = $2
               union all
               select 'committed', app_id, user_id, tenant_id, null, null, null, run_id, 1, finished_at, finished_at, fingerprint
               from batch_tokens
               where batch_id = any (array(select id from batches where key_range @> $3::text))
                 and migration = $1 and source_key = $2"#,
            self.migration,
            key,
            &*order_key(key),
        )
        .fetch_optional(&mut self.connection)
        .await
    }

    async fn batches_of(&mut self, key: &str) -> Result<Vec<BatchRecord>, sqlx::Error> {
        sqlx::query_as!(
            BatchRecord,
            r#"with recursive known (id) as (
                   select batch_id from token_rows where migration = $1 and source_key = $2
                   union
                   select batch_id from batch_tokens
                   where batch_id = any (array(select id from batches where key_range @> $3::text or state = 'in_flight'))
                     and migration = $1 and source_key = $2
                   union
                   -- A token of a rejected batch is sent again in a smaller one.
                   select parent_id from known join batches on batches.id = known.id
               )
               select id, run_id, state, token_count, attempts, http_status, error_code, reason, submitted_at, finished_at
               from batches where id in (select id from known) order by id desc"#,
            self.migration,
            key,
            &*order_key(key),
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn rollbacks_of(&mut self, key: &str) -> Result<Vec<RollbackRecord>, sqlx::Error> {
        sqlx::query_as!(
            RollbackRecord,
            "select run_id, of_run, state, token_id, error_code, reason, begun_at, ended_at
             from rollbacks join runs on runs.id = run_id
             where migration = $1 and source_key = $2
             order by run_id desc",
            self.migration,
            key,
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn findings_of(&mut self, key: &str) -> Result<Vec<FindingRecord>, sqlx::Error> {
        sqlx::query_as!(
            FindingRecord,
            "select run_id, mode, severity, error_code, reason, found_at
             from findings join runs on runs.id = run_id
             where migration = $1 and source_key = $2
             order by run_id desc, error_code",
            self.migration,
            key,
        )
        .fetch_all(&mut self.connection)
        .await
    }
}
