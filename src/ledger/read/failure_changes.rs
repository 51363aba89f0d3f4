//! Changes between the failures of two runs.

use futures_util::{StreamExt, stream::BoxStream};
use serde::Serialize;

use super::{LedgerError, LedgerReader};
use crate::domain::{Mode, RunId};

/// A token that failed in one of two runs, or in both.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct FailureChange {
    /// `new`, also with another code than before; `resolved`; `unchanged`; or `not_read`: it failed in the
    /// earlier run, and the later one did not come to it.
    pub change: String,
    pub source_key: String,
    pub app_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant_id: Option<String>,
    pub refused_by: Option<String>,
    pub error_code: Option<String>,
    pub reason: Option<String>,
    /// The code in the earlier run.
    pub error_code_before: Option<String>,
}

/// Two runs whose failures are compared.
#[derive(Debug, Clone, Copy)]
pub struct RunPair {
    /// The later run.
    pub run: RunId,
    /// The mode of the later run.
    pub mode: Mode,
    /// The later run came to every row of the source.
    pub is_complete: bool,
    /// The earlier run.
    pub since: RunId,
}

impl LedgerReader {
    /// Returns the number of failures of a run that are kept.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn kept_failures(&mut self, run: RunId) -> Result<i64, LedgerError> {
        let count = sqlx::query_scalar!(
            r#"select (select count(distinct source_key) from (
                           select source_key from run_failures where run_id = $2
                           union all
                           select source_key from token_rows where migration = $1 and state = 'failed' and run_id = $2
                           union all
                           select source_key from findings where run_id = $2 and severity = 'error'
                       ) as failing) as "count!""#,
            self.migration,
            run,
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(count)
    }

    /// Streams what changed: new failures first, then resolved ones.
    pub fn failure_changes(&mut self, pair: RunPair) -> BoxStream<'_, Result<FailureChange, LedgerError>> {
        sqlx::query_as!(
            FailureChange,
            r#"with failing as (
                   select distinct on (run_id, source_key) * from (
                       select run_id, source_key, refused_by, error_code, reason, app_id, user_id, tenant_id
                       from run_failures where run_id in ($2, $3)
                       union all
                       -- Of a run that works, or was killed.
                       select run_id, source_key, refused_by, error_code, reason, app_id, user_id, tenant_id
                       from token_rows where migration = $1 and state = 'failed' and run_id in ($2, $3)
                       union all
                       select run_id, source_key, refused_by, error_code, reason, app_id, user_id, tenant_id
                       from findings where run_id in ($2, $3) and severity = 'error'
                   ) as known
                   order by run_id, source_key, error_code
               ), later as (select * from failing where run_id = $2),
                  earlier as (select * from failing where run_id = $3),
               compared as (
                   select case
                              when earlier.error_code = later.error_code then 'unchanged'
                              when later.error_code is not null then 'new'
                              -- A run over all rows came to it, unless it was gone and kept its failure.
                              when $5 and not ($4 and exists (
                                  select from token_rows where migration = $1 and source_key = earlier.source_key
                                    and state = 'failed' and run_id < $2)) then 'resolved'
                              -- A run over some came to it if it has its outcome from this run: a later run may have resolved it.
                              when $4 and exists (
                                  select from token_rows where migration = $1 and source_key = earlier.source_key
                                    and state <> 'failed' and run_id = $2) then 'resolved'
                              else 'not_read'
                          end as change,
                          coalesce(later.source_key, earlier.source_key) as source_key,
                          case when later.error_code is null then earlier.app_id else later.app_id end as app_id,
                          case when later.error_code is null then earlier.user_id else later.user_id end as user_id,
                          case when later.error_code is null then earlier.tenant_id else later.tenant_id end as tenant_id,
                          case when later.error_code is null then earlier.refused_by else later.refused_by end as refused_by,
                          later.error_code,
                          case when later.error_code is null then earlier.reason else later.reason end as reason,
                          earlier.error_code as error_code_before
                   from later full join earlier on later.source_key = earlier.source_key
               )
               select change as "change!", source_key as "source_key!", app_id, user_id, tenant_id, refused_by, error_code,
                      reason, error_code_before
               from compared
               order by array_position(array['new', 'resolved', 'unchanged', 'not_read'], change),
                        coalesce(error_code, error_code_before), length(source_key), source_key"#,
            self.migration,
            pair.run,
            pair.since,
            pair.mode == Mode::Migrate,
            pair.is_complete,
        )
        .fetch(&mut self.connection)
        .map(|row| Ok(row?))
        .boxed()
    }
}
