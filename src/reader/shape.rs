//! The source's shape: the types of its key and fields. If a column's type changes while a run reads, its
//! values would be read as something else.

use sqlx::{AssertSqlSafe, Row};

use super::{SourceError, plan::Plan};
use crate::postgres::{Failure, FailureKind, Session};

/// The types of key and fields, in the plan's order.
#[derive(Debug, Clone)]
pub(super) struct Shape(Vec<String>);

impl Shape {
    pub(super) async fn of(connection: &mut Session, plan: &Plan) -> Result<Self, Failure> {
        // Every page waits for it: without parameters it takes one round trip, and not two on a new
        // connection.
        let row = sqlx::raw_sql(AssertSqlSafe(query(plan)))
            .fetch_one(connection)
            .await?;
        let types: String = row.try_get(0)?;
        Ok(Self(types.lines().map(str::to_owned).collect()))
    }

    /// Fails if the types are not the same any more.
    pub(super) async fn expect_unchanged(
        &self,
        connection: &mut Session,
        plan: &Plan,
    ) -> Result<(), SourceError> {
        let Self(types) = match Self::of(connection, plan).await {
            Ok(shape) => shape,
            // A column or the table is gone.
            Err(failure) if failure.kind == FailureKind::Rejected => {
                return Err(SourceError::Changed {
                    what: failure.to_string(),
                });
            }
            Err(failure) => return Err(failure.into()),
        };
        let key = plan.key.names();
        let names = key
            .iter()
            .map(|_| "source.key".to_owned())
            .chain(plan.columns.iter().map(|column| column.field.key()));
        let changed: Vec<String> = names
            .zip(self.0.iter().zip(&types))
            .filter(|(_, (before, now))| before != now)
            .map(|(name, (before, now))| format!("`{name}` was {before} and is {now}"))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(SourceError::Changed {
            what: changed.join("; "),
        })
    }
}

/// Reads no row: that of a column that is null has its type all the same.
fn query(plan: &Plan) -> String {
    let fields: Vec<&str> = plan
        .key
        .names()
        .into_iter()
        .chain(plan.columns.iter().map(|column| column.raw.as_str()))
        .collect();
    let list = |each: &dyn Fn(usize) -> String| (0..fields.len()).map(each).collect::<Vec<_>>().join(", ");
    format!(
        "select pg_catalog.concat_ws(e'\\n', {types}) from (select) as one left join (select {values} from {from} limit 0) as none on true",
        types = list(&|position| format!("pg_catalog.pg_typeof(none.\"tokenferry {position}\")::text")),
        values = list(&|position| format!("{} as \"tokenferry {position}\"", fields[position])),
        from = plan.from,
    )
}
