//! The key in the database: the types of its columns, and the proof that it is unique and never null.

use sqlx::{AssertSqlSafe, postgres::PgTypeInfo};

use super::{
    SourceError,
    column_type::{KeyType, base_type},
    key_columns::{KeyColumn, KeyColumns},
    relation::{missing_column, problem, types},
};
use crate::{
    config::{Problem, Relation, SourceSettings},
    postgres::{Failure, FailureKind, Session, quote_identifier},
};

/// The columns of the key, with their types; `None` if one is none, which is noted.
pub(super) async fn key_columns(
    connection: &mut Session,
    settings: &SourceSettings,
    from: &str,
    names: &[String],
    problems: &mut Vec<Problem>,
) -> Result<Option<KeyColumns>, SourceError> {
    let mut columns = Vec::with_capacity(settings.key.len());
    for column in &settings.key {
        let name = quote_identifier(column);
        let Ok(found) = types(connection, format!("select {name} from {from} limit 0")).await? else {
            problems.push(missing_column("source.key", column, names));
            continue;
        };
        let key_type = match found.first() {
            Some(info) => {
                let names = type_names(connection, info).await?;
                KeyType::of(info, names)
            }
            None => None,
        };
        match key_type {
            Some(key_type) => columns.push(KeyColumn { name, key_type }),
            None => {
                let has = found
                    .first()
                    .map_or_else(String::new, |info| format!(", and \"{column}\" is {info}"));
                let must = format!("must be of an integer, numeric, uuid, text or enum type{has}");
                problems.push(problem("source.key", must));
            }
        }
    }
    Ok((columns.len() == settings.key.len()).then(|| KeyColumns::new(columns)))
}

/// The schema of a type and its name, with domains looked through.
async fn type_names(
    connection: &mut Session,
    info: &PgTypeInfo,
) -> Result<Option<(String, String)>, Failure> {
    let Some(oid) = base_type(info).oid() else {
        return Ok(None);
    };
    sqlx::query_as(
        "select n.nspname::text, t.typname::text from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
         where t.oid = $1",
    )
    .bind(oid)
    .fetch_optional(&mut *connection)
    .await
    .map_err(Failure::from)
}

/// Paging skips rows in silence if two share a key or one has none, so this is proven: by a unique index if
/// there is one, else by looking at the rows.
pub(super) async fn check_key(
    connection: &mut Session,
    settings: &SourceSettings,
    from: &str,
    condition: Option<&str>,
) -> Result<(), SourceError> {
    let names: Vec<String> = settings
        .key
        .iter()
        .map(|column| quote_identifier(column))
        .collect();
    let (unique, not_null) = match &settings.relation {
        Relation::Table(_) => {
            let index = unique_index(connection, from, &settings.key).await?;
            let mut not_null = true;
            for column in &settings.key {
                not_null = not_null && is_not_null(connection, from, column).await?;
            }
            (index.is_some(), not_null)
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
        let nulls: Vec<String> = names.iter().map(|name| format!("{name} is null")).collect();
        let sql = format!(
            "select true from {from}{} limit 1",
            filter(&format!("({})", nulls.join(" or ")))
        );
        if probe(connection, sql).await?.is_some() {
            let text = "is null in at least one row: it must be without nulls (or exclude those rows with `source.where`)";
            return Err(SourceError::Misfit(vec![problem("source.key", text)]));
        }
    }
    if !unique {
        let sql = format!(
            "select true from {from}{} group by {key} having pg_catalog.count(*) operator(pg_catalog.>) 1 limit 1",
            filter(""),
            key = names.join(", "),
        );
        if probe(connection, sql).await?.is_some() {
            let mut collation = None;
            for column in &settings.key {
                if collation.is_none() && matches!(settings.relation, Relation::Table(_)) {
                    collation = lax_collation(connection, from, column).await?;
                }
            }
            let because = collation.map_or_else(String::new, |collation| {
                format!(
                    " (the column's collation {collation} treats different texts as equal; use a query with `key collate \"C\"`)"
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
                "has no unique index, and checking every row takes longer than `source.statement_timeout`: \
                 create a unique index on it, or raise the timeout",
            )])),
            failure => Err(failure.into()),
        },
    }
}

/// The index by which the catalog promises that the columns are unique together: one over some or all of
/// them.
pub(super) async fn unique_index(
    connection: &mut Session,
    table: &str,
    key: &[String],
) -> Result<Option<String>, Failure> {
    let name = sqlx::query_scalar(
        // The types on both sides are the same, so that the catalog's own operators are meant, which come
        // first. An index of a parent says nothing of the rows of its children, unless they are partitions.
        // Where a column's collation takes different texts for equal, pages do so, too, and an index by
        // another collation lets such rows be.
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid \
         where i.indrelid = pg_catalog.to_regclass($1)::oid and i.indisunique and i.indisvalid \
               and i.indpred is null and (c.relkind = 'p' or not c.relhassubclass)
               and not exists (
                   select from pg_catalog.generate_series(0, i.indnkeyatts - 1) as position
                          left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[position]
                                                      and a.attname = any ($2::text[]::name[]) and not a.attisdropped
                   where a.attname is null
                         or (i.indcollation[position] <> a.attcollation
                             and exists (select from pg_catalog.pg_collation l where l.oid = a.attcollation
                                         and pg_catalog.to_jsonb(l) ->> 'collisdeterministic' = 'false')))
         order by i.indnkeyatts desc limit 1",
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

/// Tells whether the catalog guarantees that the column is never null, in every table whose rows are read
/// with the named one's: a child may have dropped its parent's constraint, a foreign table does not enforce
/// it, and older rows may not have been validated.
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
