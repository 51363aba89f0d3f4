//! Rows that may share a destination, found by the database before the first page is read.
//!
//! Read page by page, an older row may come long before the newer one, and would be uploaded only to be
//! overwritten. So the database is asked once, at the start of a run, for the rows that may share a
//! destination; mostly there are few or none, and it finds that out by counting hashes, without sorting the
//! table. Whether two of them really do is decided where all destinations are made, as only there scopes are
//! read as they are sent. Nothing is sent before all of that is known.

use std::future::ready;

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use sqlx::{
    Arguments, AssertSqlSafe, Executor, Row,
    postgres::{PgArguments, PgRow},
};

use super::{
    Source, SourceError, decode,
    error::row_error,
    interner::Interner,
    plan::{Column, Plan, assign_positions, select_list},
};
use crate::{
    config::{AppMap, Field},
    domain::{LegacyToken, SourceKey},
    postgres::Failure,
};

/// The fields that make a destination, in the order of the query's columns, and the one that tells which row
/// is newer.
const FIELDS: [Field; 8] = [
    Field::App,
    Field::UserId,
    Field::LoginId,
    Field::TenantId,
    Field::ExternalIdentifier,
    Field::Scopes,
    Field::Provider,
    Field::UpdatedAt,
];

/// A row that may share its destination with others.
#[derive(Debug)]
pub struct Duplicate {
    /// The fields that make its destination, without the rest of the row.
    pub row: LegacyToken,
    /// Rows that share a destination have this in common, and others seldom.
    pub group: i64,
    /// The run has not read it yet.
    pub is_ahead: bool,
}

impl Source {
    /// All rows that may share a destination: group by group, and in each the newest first. What stands after
    /// the key is ahead of the run. After a lost connection, asking again begins anew.
    ///
    /// # Errors
    /// If the database does not answer, or, at the end of the stream, cannot answer within its statement
    /// timeout.
    pub async fn duplicates<'a>(
        &'a mut self,
        apps: &'a AppMap,
        after: Option<&SourceKey>,
    ) -> Result<BoxStream<'a, Result<Duplicate, SourceError>>, SourceError> {
        if !self.has_rivals(apps).await? {
            return Ok(stream::empty().boxed());
        }
        let mut columns: Vec<Column> = FIELDS
            .iter()
            .filter_map(|&field| self.plan.column(field).cloned())
            .collect();
        let selected = assign_positions(&mut columns);
        let sql = AssertSqlSafe(query(&self.plan, apps, &selected, after.is_some()));
        let values = selected.len();
        let mut arguments = arguments(apps).map_err(unreadable)?;
        if let Some(after) = after {
            let added = arguments.add(after.as_str().to_owned());
            added.map_err(sqlx::Error::Encode).map_err(unreadable)?;
        }
        let mut common = Interner::default();
        let connection = self.connection.session().await?;
        let rows = sqlx::query_with(sql, arguments).fetch(connection);
        Ok(rows
            .map_err(unreadable)
            .and_then(move |row| ready(duplicate(&row, values, &columns, &mut common).map_err(unreadable)))
            .boxed())
    }

    /// Tells whether there are any. In most tables there are none, and one scan is enough. The run waits for
    /// it, so the database may use parallel workers, unlike for a page.
    async fn has_rivals(&mut self, apps: &AppMap) -> Result<bool, SourceError> {
        let sql = AssertSqlSafe(contested(&self.plan, apps));
        let connection = self.connection.session().await?;
        connection
            .execute("set parallel_tuple_cost to 0")
            .await
            .map_err(Failure::from)?;
        let counted: Result<i64, _> = sqlx::query_scalar_with(sql, arguments(apps).map_err(unreadable)?)
            .fetch_one(&mut *connection)
            .await;
        let reset = connection.execute("set parallel_tuple_cost to default").await;
        let counted = counted.map_err(unreadable)?;
        reset.map_err(Failure::from)?;
        Ok(counted > 0)
    }
}

/// Expressions and conditions of the user's are worked out for every row here: their errors are the rows',
/// and may quote values.
fn unreadable(error: sqlx::Error) -> SourceError {
    row_error(error, None)
}

fn duplicate(
    row: &PgRow,
    values: usize,
    columns: &[Column],
    common: &mut Interner,
) -> Result<Duplicate, sqlx::Error> {
    let key: &str = row.try_get(0)?;
    Ok(Duplicate {
        row: decode::token(row, SourceKey::from(key), columns, common)?,
        group: row.try_get(values + 1)?,
        is_ahead: row.try_get(values + 2)?,
    })
}

fn trimmed(text: &str) -> String {
    format!("pg_catalog.btrim({text}, e' \\t\\n\\r\\f\\x0b')")
}

fn not_blank(text: &str) -> String {
    format!("{} operator(pg_catalog.<>) ''", trimmed(text))
}

/// Of a group: more than one row is in it.
const SEVERAL: &str = "pg_catalog.count(*) operator(pg_catalog.>) 1";

/// A hash that equal destinations share, and others rarely. It is computed for every row and so kept cheap:
/// chained hashes of trimmed texts. A blank text counts as absent.
fn place(plan: &Plan, app_id: &str) -> String {
    let text = |field| plan.column(field).map(|column| column.sql.as_str());
    let user = match (text(Field::UserId), text(Field::LoginId)) {
        (Some(user), Some(login)) => Some(format!(
            "case when {} then {} else {} end",
            not_blank(user),
            trimmed(user),
            trimmed(login)
        )),
        (user, login) => user.or(login).map(trimmed),
    };
    let tenant = text(Field::TenantId).map(trimmed);
    let external = text(Field::ExternalIdentifier).map(str::to_owned);
    let app = format!("pg_catalog.hashtextextended({app_id} collate pg_catalog.\"C\", 0)");
    [external, tenant, user]
        .into_iter()
        .flatten()
        .fold(app, |seed, text| {
            format!("pg_catalog.hashtextextended(coalesce({text}, '') collate pg_catalog.\"C\", {seed})")
        })
}

/// The hash of a row's place, and what has to be joined to work it out. A name without an entry has no
/// destination, and two names may stand for one app. The aliases cannot clash with a
/// column of the source.
fn mapped_place(plan: &Plan, apps: &AppMap) -> (String, String) {
    let app = plan
        .column(Field::App)
        .map_or("null::pg_catalog.text", |column| column.sql.as_str());
    if apps.entries().is_none() {
        return (place(plan, app), String::new());
    }
    let (name, id) = ("\"tokenferry name\"", "\"tokenferry id\"");
    // "C" compares letter by letter, as validation does, whatever the column's own collation is.
    // Of several arrays, `unnest` is the grammar's own and names no schema.
    let join = format!(
        " join unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) as \"tokenferry apps\" ({name}, {id}) \
         on {name} operator(pg_catalog.=) ({app}) collate pg_catalog.\"C\""
    );
    (place(plan, id), join)
}

/// The values of the queries' parameters.
fn arguments(apps: &AppMap) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    if let Some(entries) = apps.entries() {
        let (names, ids): (Vec<String>, Vec<String>) = entries.unzip();
        arguments.add(names).map_err(sqlx::Error::Encode)?;
        arguments.add(ids).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Rows of somebody. The others have no destination, and one hash.
fn owned(plan: &Plan) -> String {
    let owners = [Field::UserId, Field::LoginId, Field::TenantId];
    let present: Vec<String> = owners
        .into_iter()
        .filter_map(|field| plan.column(field))
        .map(|column| not_blank(&column.sql))
        .collect();
    format!("({})", present.join(" or "))
}

/// Counts the places that several rows seem to have.
fn contested(plan: &Plan, apps: &AppMap) -> String {
    let (place, join) = mapped_place(plan, apps);
    format!(
        "select pg_catalog.count(*) from (select from {from}{join}{filter} group by {place} having {SEVERAL}) as contested",
        from = plan.from,
        filter = plan.filter(Some(owned(plan))),
    )
}

/// Counts hashes first, and sorts only the rows whose hash occurs twice: a table without rivals is not
/// sorted, and looked at once. Where a row has no user but a login ID, that is hashed: that two of them may
/// be one user's is nothing that the source knows.
fn query(plan: &Plan, apps: &AppMap, selected: &[String], after_key: bool) -> String {
    let (place, join) = mapped_place(plan, apps);
    let is_ahead = if after_key {
        plan.is_after(if apps.entries().is_some() { "$3" } else { "$1" })
    } else {
        "true".to_owned()
    };
    let selected = select_list(&plan.key, selected.iter().map(String::as_str));
    let newness = plan
        .column(Field::UpdatedAt)
        .map_or("null::pg_catalog.text", |column| column.raw.as_str());
    let tie_break = plan.key.tie_break();
    let owned = owned(plan);
    format!(
        "with contested as materialized (
             select {place} as place from {from}{join}{all} group by 1 having {SEVERAL}
         )
         select {selected}, {place} as \"tokenferry group\", {is_ahead} as \"tokenferry ahead\"
         from {from}{join}{among}
         order by {place}, {newness} desc nulls last, {tie_break} desc",
        from = plan.from,
        all = plan.filter(Some(owned.clone())),
        among = plan.filter(Some(format!(
            "{owned} and {place} operator(pg_catalog.=) any (select contested.place from contested)"
        ))),
    )
}
