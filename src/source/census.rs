//! How many rows and users there are, for whoever has to say beforehand how much there is to ask.

use sqlx::AssertSqlSafe;

use super::{Source, SourceError, plan::Plan, reader::row_error};
use crate::{
    config::Field,
    postgres::{Failure, FailureKind},
};

/// What the source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Rows.
    pub rows: u64,
    /// Different users among them, known by their IDs or by their login IDs.
    pub users: u64,
}

impl Source {
    /// Counts; `None` if that takes longer than the statement timeout.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn census(&mut self) -> Result<Option<Census>, SourceError> {
        let sql = AssertSqlSafe(query(&self.plan));
        let Some(connection) = &mut self.connection else {
            return Err(SourceError::Database(Failure::from(sqlx::Error::PoolClosed)));
        };
        let counted: Result<(i64, i64), _> = sqlx::query_as(sql).fetch_one(connection).await;
        match counted {
            Ok((rows, users)) => Ok(Some(Census {
                rows: rows.unsigned_abs(),
                users: users.unsigned_abs(),
            })),
            Err(error) => match row_error(error, None) {
                SourceError::Database(failure) if failure.kind == FailureKind::Timeout => Ok(None),
                error => Err(error),
            },
        }
    }
}

fn query(plan: &Plan) -> String {
    let text = |field| {
        plan.column(field)
            .map_or("null::text", |column| column.sql.as_str())
    };
    // A login ID is counted apart from an equal user ID.
    let (user, login) = (text(Field::UserId), text(Field::LoginId));
    format!(
        "with people as (
             select {user} as user_id, case when coalesce({user}, '') = '' then {login} end as login_id from {from}{filter}
         )
         select (select count(*) from people),
                (select count(*) from (select distinct user_id, login_id from people
                                       where user_id <> '' or login_id <> '') as people)",
        from = plan.from,
        filter = plan.filter(None),
    )
}
