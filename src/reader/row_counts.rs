//! Counts of rows and users, for estimates of lookups.

use sqlx::AssertSqlSafe;

use super::{Source, SourceError, error::row_error, plan::Plan};
use crate::{config::Field, postgres::FailureKind};

/// The counts of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows.
    pub rows: u64,
    /// Different users among them, known by their IDs or by their login IDs.
    pub users: u64,
}

impl Source {
    /// Counts; `None` if that takes longer than the statement timeout, or fails on a row. A lost connection
    /// is taken up again.
    ///
    /// # Errors
    /// If the database stays away, or the rows cannot be counted.
    pub async fn count_rows_and_users(&mut self) -> Result<Option<RowCounts>, SourceError> {
        let mut outage = self.outage();
        loop {
            match self.count().await {
                Ok(row_counts) => {
                    self.record_recovery(&outage);
                    return Ok(Some(row_counts));
                }
                Err(SourceError::Database(failure)) if failure.kind == FailureKind::Timeout => {
                    return Ok(None);
                }
                Err(error) if error.is_about_a_value() => return Ok(None),
                Err(SourceError::Database(failure)) => outage.wait_out(failure).await?,
                Err(error) => return Err(error),
            }
            self.disconnect();
        }
    }

    async fn count(&mut self) -> Result<RowCounts, SourceError> {
        let sql = AssertSqlSafe(query(&self.plan));
        let connection = self.connection.session().await?;
        let counted: Result<(i64, i64), _> = sqlx::query_as(sql).fetch_one(connection).await;
        let (rows, users) = counted.map_err(|error| row_error(error, None))?;
        Ok(RowCounts {
            rows: rows.unsigned_abs(),
            users: users.unsigned_abs(),
        })
    }
}

fn query(plan: &Plan) -> String {
    let text = |field| {
        plan.column(field)
            .map_or("null::pg_catalog.text", |column| column.sql.as_str())
    };
    // A login ID is counted apart from an equal user ID.
    let (user, login) = (text(Field::UserId), text(Field::LoginId));
    format!(
        "with people as (
             select {user} as user_id, case when coalesce({user}, '') operator(pg_catalog.=) '' then {login} end as login_id from {from}{filter}
         )
         select (select pg_catalog.count(*) from people),
                (select pg_catalog.count(*) from (select distinct user_id, login_id from people
                                       where user_id operator(pg_catalog.<>) '' or login_id operator(pg_catalog.<>) '') as people)",
        from = plan.from,
        filter = plan.filter(None),
    )
}
