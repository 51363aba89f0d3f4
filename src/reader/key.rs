//! The key column: its type, and the proof that it is unique and never null.

use sqlx::AssertSqlSafe;

use super::{
    SourceError,
    column_type::KeyType,
    relation::{missing_column, problem, types},
};
use crate::{
    config::{Problem, Relation, SourceSettings},
    postgres::{Failure, FailureKind, Session, quote_identifier},
};

pub(super) async fn key_type(
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

/// Paging skips rows in silence if two share a key or one has none, so this is proven: by a unique index if
/// there is one, else by looking at the rows.
pub(super) async fn check_key(
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

/// The index by which the catalog promises that the column is unique.
pub(super) async fn unique_index(
    connection: &mut Session,
    table: &str,
    key: &str,
) -> Result<Option<String>, Failure> {
    let name = sqlx::query_scalar(
        // The types on both sides are the same, so that the catalog's own operators are meant, which come
        // first. An index of a parent says nothing of the rows of its children, unless they are partitions.
        // Where the column's collation takes different texts for equal, pages do so, too, and an index by
        // another collation lets such rows be.
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
