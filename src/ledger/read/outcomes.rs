//! Outcomes of all rows, for exports.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream::BoxStream};
use serde::Serialize;

use super::{LedgerError, LedgerReader};
use crate::domain::{RunId, Superseded};

/// The last outcome of a source row.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct RowOutcome {
    pub source_key: String,
    pub app_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant_id: Option<String>,
    pub state: String,
    pub refused_by: Option<String>,
    /// The code of a failure, or why a row was left out.
    pub code: Option<String>,
    pub reason: Option<String>,
    /// The key of the row that took its place, or the name of the migration.
    pub superseded_by: Option<String>,
    /// Why the failure is accepted.
    pub acknowledgement: Option<String>,
    pub run_id: RunId,
    pub updated_at: DateTime<Utc>,
}

impl LedgerReader {
    /// Streams the outcomes of all rows as they are when it begins, in no order: sorting them would need room
    /// for all of them.
    pub fn outcomes(&mut self) -> BoxStream<'_, Result<RowOutcome, LedgerError>> {
        sqlx::query_as!(
            RowOutcome,
            r#"select source_key as "source_key!", app_id, user_id, tenant_id, state as "state!", refused_by,
                      case state when 'superseded' then superseded_code else row.error_code end as code, row.reason,
                      case state when 'superseded' then superseded_by end as superseded_by,
                      known.reason as acknowledgement, row.run_id as "run_id!", updated_at as "updated_at!"
               from token_rows as row left join acknowledged as known using (migration, source_key)
               where migration = $1
               union all
               select source_key, app_id, user_id, tenant_id, 'committed', null, null, null, null, null, run_id, finished_at
               from batch_tokens where batch_state = 'committed' and migration = $1"#,
            self.migration,
        )
        .fetch(&mut self.connection)
        .map(|row| {
            let mut row = row?;
            if let ("superseded", Some(code)) = (row.state.as_str(), &row.code) {
                row.reason = Some(Superseded::sentence(code, row.superseded_by.as_deref()));
            }
            Ok(row)
        })
        .boxed()
    }
}
