//! Validates the configuration against the database before the first page is read.

use sqlx::{AssertSqlSafe, Column as _, Executor, SqlSafeStr, Statement};

use super::{
    SourceError,
    plan::{Column, Form, KeyType, Plan, expression, from_clause, parenthesize},
    row_security, value_limit,
};
use crate::{
    config::{Expression, Problem, Relation, SourceSettings, nearest},
    postgres::{Failure, FailureKind, Session, quote_identifier},
};

/// Checks relation, condition, columns and key, and makes the plan. All that is wrong is named at once.
pub(super) async fn inspect(
    connection: &mut Session,
    settings: &SourceSettings,
) -> Result<Plan, SourceError> {
    match plan(connection, settings).await {
        Ok(plan) => Ok(plan),
        Err(error) => Err(row_security::named(connection, error).await),
    }
}

async fn plan(connection: &mut Session, settings: &SourceSettings) -> Result<Plan, SourceError> {
    let from = from_clause(&settings.relation);
    let names = relation_columns(connection, settings, &from).await?;
    let mut problems = Vec::new();

    let condition = settings.condition.as_deref().map(parenthesize);
    if let Some(condition) = &condition {
        let sql = format!("select 1 from {from} where {condition} limit 0");
        if let Err(failure) = types(connection, sql).await? {
            problems.push(problem(
                "source.where",
                format!("is not a condition over these rows: {failure}"),
            ));
        }
    }
    let key_type = key_type(connection, settings, &from, &names, &mut problems).await?;
    let mut columns = Vec::new();
    for (&field, wanted) in &settings.columns {
        let key = field.key();
        let sql = expression(&wanted.expression);
        match types(connection, format!("select {sql} from {from} limit 0")).await? {
            Ok(found) => match found
                .first()
                .map(|info| (info, Form::of(field, info, wanted.decrypt.is_some())))
            {
                Some((info, Ok((form, template)))) => {
                    let text = template.replacen("{}", &sql, 1);
                    columns.push(Column {
                        field,
                        form,
                        selected: value_limit::cut(form, info, &wanted.expression, &sql, &text),
                        raw: sql,
                        sql: text,
                        decrypt: wanted.decrypt.clone(),
                    });
                }
                Some((_, Err(must))) => problems.push(problem(key, must)),
                None => problems.push(problem(key, "gives no value")),
            },
            Err(failure) => problems.push(match &wanted.expression {
                Expression::Column(name) => missing_column(key, name, &names),
                Expression::Sql(_) => {
                    problem(key, format!("is not an expression over these rows: {failure}"))
                }
            }),
        }
    }
    let Some(key_type) = key_type.filter(|_| problems.is_empty()) else {
        return Err(SourceError::Misfit(problems));
    };
    check_key(connection, settings, &from, condition.as_deref()).await?;
    let plan = Plan::new(settings, key_type, columns);
    // Privileges are only looked at when a query runs.
    connection
        .execute(AssertSqlSafe(plan.page(false, 0)))
        .await
        .map_err(Failure::from)?;
    Ok(plan)
}

fn problem(key: impl Into<String>, must: impl Into<String>) -> Problem {
    Problem {
        key: key.into(),
        must: must.into(),
    }
}

fn missing_column(key: impl Into<String>, name: &str, names: &[String]) -> Problem {
    let hint = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are {}", names.join(", ")),
    };
    problem(
        key,
        format!("names the column \"{name}\", which is not there: {hint}"),
    )
}

/// The types that a query gives, or what is wrong with the query. Nothing is executed.
async fn types(
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
async fn relation_columns(
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
    let text = format!(
        "names \"{name}\", which this database does not have{hint} (names are taken letter by letter)"
    );
    Err(SourceError::Misfit(vec![problem("source.table", text)]))
}

async fn key_type(
    connection: &mut Session,
    settings: &SourceSettings,
    from: &str,
    names: &[String],
    problems: &mut Vec<Problem>,
) -> Result<Option<KeyType>, SourceError> {
    let key = quote_identifier(&settings.key);
    match types(connection, format!("select {key} from {from} limit 0")).await? {
        Err(_) => problems.push(missing_column("source.key", &settings.key, names)),
        Ok(found) => match found.first().and_then(KeyType::of) {
            Some(key_type) => return Ok(Some(key_type)),
            None => {
                let has = found
                    .first()
                    .map_or_else(String::new, |info| format!(", and this one is {info}"));
                problems.push(problem(
                    "source.key",
                    format!("must be a column of an integer, uuid or text type{has}"),
                ));
            }
        },
    }
    Ok(None)
}

/// Paging skips rows in silence if two share a key or one has none, so this is proven: by a unique index if there is
/// one, else by looking at the rows.
async fn check_key(
    connection: &mut Session,
    settings: &SourceSettings,
    from: &str,
    condition: Option<&str>,
) -> Result<(), SourceError> {
    let key = quote_identifier(&settings.key);
    let (unique, not_null) = match &settings.relation {
        Relation::Table(_) => {
            let index = unique_index(connection, from, &settings.key).await?;
            (
                index.is_some(),
                is_not_null(connection, from, &settings.key).await?,
            )
        }
        Relation::Query(_) => (false, false),
    };
    let filter = |extra: &str| match condition {
        Some(condition) => format!(
            " where {condition}{}{extra}",
            if extra.is_empty() { "" } else { " and " }
        ),
        None if extra.is_empty() => String::new(),
        None => format!(" where {extra}"),
    };
    if !not_null {
        let sql = format!(
            "select true from {from}{} limit 1",
            filter(&format!("{key} is null"))
        );
        if probe(connection, sql).await?.is_some() {
            let text = "is null in at least one row: it must be a column without nulls (or exclude those rows with `source.where`)";
            return Err(SourceError::Misfit(vec![problem("source.key", text)]));
        }
    }
    if !unique {
        let sql = format!(
            "select true from {from}{} group by {key} having pg_catalog.count(*) operator(pg_catalog.>) 1 limit 1",
            filter("")
        );
        if probe(connection, sql).await?.is_some() {
            let collation = match &settings.relation {
                Relation::Table(_) => lax_collation(connection, from, &settings.key).await?,
                Relation::Query(_) => None,
            };
            let because = collation.map_or_else(String::new, |collation| {
                format!(
                    " (the column's collation {collation} takes different texts for equal; a query with `key collate \"C\"` tells \
                     them apart)"
                )
            });
            let text = format!(
                "is not unique: at least two rows share a key, and all but one would be skipped{because}"
            );
            return Err(SourceError::Misfit(vec![problem("source.key", text)]));
        }
    }
    Ok(())
}

async fn probe(connection: &mut Session, sql: String) -> Result<Option<bool>, SourceError> {
    match sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_optional(&mut *connection)
        .await
    {
        Ok(found) => Ok(found),
        // Rows are looked at here: the message may quote one.
        Err(error) => match Failure::from(error).without_message() {
            failure if failure.kind == FailureKind::Timeout => Err(SourceError::Misfit(vec![problem(
                "source.key",
                "has no unique index, and looking at every row takes longer than `source.statement_timeout`: \
                 create a unique index on it, or raise the timeout",
            )])),
            failure => Err(failure.into()),
        },
    }
}

/// The index by which the catalog promises that the column is unique.
pub(super) async fn unique_index(
    connection: &mut Session,
    table: &str,
    key: &str,
) -> Result<Option<String>, Failure> {
    let name = sqlx::query_scalar(
        // The types on both sides are the same, so that the catalog's own operators are meant, which come first. An index of a
        // parent says nothing of the rows of its children, unless they are partitions. Where the column's collation takes different
        // texts for equal, pages do so, too, and an index by another collation lets such rows be.
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid \
                join pg_attribute a on a.attrelid = i.indrelid \
         where i.indrelid = pg_catalog.to_regclass($1)::oid and a.attname = $2::name and not a.attisdropped and i.indisunique and i.indisvalid \
               and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = a.attnum \
               and (c.relkind = 'p' or not c.relhassubclass)
               and (i.indcollation[0] = a.attcollation
                    or not exists (select from pg_catalog.pg_collation l where l.oid = a.attcollation
                                   and pg_catalog.to_jsonb(l) ->> 'collisdeterministic' = 'false')) limit 1",
    )
    .bind(table)
    .bind(key)
    .fetch_optional(&mut *connection)
    .await?;
    Ok(name)
}

/// The column's collation, if it takes different texts for equal.
async fn lax_collation(connection: &mut Session, table: &str, key: &str) -> Result<Option<String>, Failure> {
    let name = sqlx::query_scalar(
        // Before Postgres 12 there is none, and no column that tells.
        "select l.collname::text from pg_catalog.pg_attribute a
                join pg_catalog.pg_collation l on l.oid = a.attcollation
         where a.attrelid = pg_catalog.to_regclass($1) and a.attname = $2 and not a.attisdropped
               and pg_catalog.to_jsonb(l) ->> 'collisdeterministic' = 'false'",
    )
    .bind(table)
    .bind(key)
    .fetch_optional(&mut *connection)
    .await?;
    Ok(name)
}

/// Whether the catalog promises that the column is never null, for every table whose rows are read with the named one's: a child may
/// have dropped what its parent says, nobody holds a foreign table to it, and a constraint may not have been held against older rows.
async fn is_not_null(connection: &mut Session, table: &str, key: &str) -> Result<bool, Failure> {
    sqlx::query_scalar(
        "with recursive read (oid) as (
             select pg_catalog.to_regclass($1)::oid
             union
             select i.inhrelid from pg_catalog.pg_inherits i join read on i.inhparent = read.oid
         )
         select coalesce(pg_catalog.bool_and(
                    c.relkind in ('r', 'p') and a.attnotnull
                    and not exists (select from pg_catalog.pg_constraint n
                                    where n.conrelid = c.oid and n.contype = 'n' and n.conkey[1] = a.attnum and not n.convalidated)
                ), false)
         from read join pg_catalog.pg_class c on c.oid = read.oid
                   join pg_catalog.pg_attribute a on a.attrelid = c.oid
         where a.attname = $2::name and not a.attisdropped",
    )
    .bind(table)
    .bind(key)
    .fetch_one(&mut *connection)
    .await
    .map_err(Failure::from)
}

/// How many rows the planner expects; good enough for a progress bar, and free.
pub(super) async fn expected_rows(connection: &mut Session, settings: &SourceSettings) -> Option<u64> {
    let from = from_clause(&settings.relation);
    let filter = settings
        .condition
        .as_deref()
        .map(|sql| format!(" where {}", parenthesize(sql)))
        .unwrap_or_default();
    let sql = format!("explain (format json) select 1 from {from}{filter}");
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut *connection)
        .await
        .ok()?;
    plan.pointer("/0/Plan/Plan Rows")?.as_u64()
}
