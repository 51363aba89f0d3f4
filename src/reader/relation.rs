//! The relation that is read: its columns, and the types of expressions over it.

use sqlx::{AssertSqlSafe, Column as _, Executor, SqlSafeStr, Statement};

use super::SourceError;
use crate::{
    config::{Problem, Relation, SourceSettings, nearest},
    postgres::{Failure, FailureKind, Session},
};

pub(super) fn problem(key: impl Into<String>, must: impl Into<String>) -> Problem {
    Problem {
        key: key.into(),
        must: must.into(),
    }
}

pub(super) fn missing_column(key: impl Into<String>, name: &str, names: &[String]) -> Problem {
    let hint = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the columns are {}", names.join(", ")),
    };
    problem(
        key,
        format!("names the column \"{name}\", which does not exist: {hint}"),
    )
}

/// The types that a query gives, or what is wrong with the query. Nothing is executed.
pub(super) async fn types(
    connection: &mut Session,
    sql: String,
) -> Result<Result<Vec<sqlx::postgres::PgTypeInfo>, Failure>, SourceError> {
    match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
        Ok(statement) => Ok(Ok(statement
            .columns()
            .iter()
            .map(|column| column.type_info().clone())
            .collect())),
        Err(error) => {
            let failure = Failure::from(error);
            if failure.kind == FailureKind::Rejected {
                Ok(Err(failure))
            } else {
                Err(failure.into())
            }
        }
    }
}

/// The names of the relation's columns; its absence is the first thing to say.
pub(super) async fn relation_columns(
    connection: &mut Session,
    settings: &SourceSettings,
    from: &str,
) -> Result<Vec<String>, SourceError> {
    let sql = format!("select * from {from} limit 0");
    let failure = match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
        Ok(statement) => {
            return Ok(statement
                .columns()
                .iter()
                .map(|column| column.name().to_owned())
                .collect());
        }
        Err(error) => Failure::from(error),
    };
    if failure.kind != FailureKind::Rejected {
        return Err(failure.into());
    }
    let Relation::Table(parts) = &settings.relation else {
        let text = format!("is not a query that this database can run: {failure}");
        return Err(SourceError::Misfit(vec![problem("source.query", text)]));
    };
    let tables: Vec<String> = sqlx::query_scalar(
        "select case when pg_catalog.pg_table_is_visible(c.oid) then c.relname::text \
                     else pg_catalog.format('%s.%s', n.nspname, c.relname) end \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Failure::from)?;
    let name = parts.join(".");
    let bare = parts.last().map_or("", String::as_str);
    let near = nearest(&name, tables.iter().map(String::as_str))
        .or_else(|| nearest(bare, tables.iter().map(String::as_str)));
    let hint = near
        .map(|near| format!("; did you mean \"{near}\"?"))
        .unwrap_or_default();
    let text =
        format!("names \"{name}\", which this database does not have{hint} (names are case-sensitive)");
    Err(SourceError::Misfit(vec![problem("source.table", text)]))
}
