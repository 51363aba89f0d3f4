//! Rows that share a destination with a newer one, found by the database before the first page is read.
//!
//! Read page by page, an older row may come long before the newer one, and would be uploaded only to be overwritten. So
//! the database is asked once, at the start of a run, which rows are outdated; mostly there are few or none, and it finds
//! that out by counting hashes, without sorting the table. Nothing is sent before it has answered.

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
    Source, SourceError,
    common::Common,
    decode,
    plan::{Column, KeyType, Plan},
    reader::row_error,
    session,
};
use crate::{
    config::{AppMap, Field},
    model::{LegacyToken, SecretTexts, SourceKey},
    postgres::Failure,
};

/// The fields that make a destination, in the order of the query's columns, and the one that tells which row is newer.
const FIELDS: [Field; 6] = [
    Field::App,
    Field::UserId,
    Field::LoginId,
    Field::TenantId,
    Field::ExternalIdentifier,
    Field::UpdatedAt,
];

impl Source {
    /// The outdated rows after a key, or all of them, each with what makes its destination and nothing else. The newer rows may
    /// stand before the key. After a lost connection, asking again begins anew.
    ///
    /// # Errors
    /// If the database does not answer, or, at the end of the stream, cannot answer within its statement timeout.
    pub async fn outdated<'a>(
        &'a mut self,
        apps: &'a AppMap,
        after: Option<&SourceKey>,
    ) -> Result<BoxStream<'a, Result<LegacyToken, SourceError>>, SourceError> {
        if !self.has_rivals(apps).await? {
            return Ok(stream::empty().boxed());
        }
        let sql = AssertSqlSafe(query(&self.plan, apps, after.is_some()));
        let mut arguments = arguments(apps).map_err(unreadable)?;
        if let Some(after) = after {
            let added = arguments.add(after.as_str().to_owned());
            added.map_err(sqlx::Error::Encode).map_err(unreadable)?;
        }
        let columns: Vec<Column> = FIELDS
            .iter()
            .filter_map(|&field| self.plan.column(field).cloned())
            .collect();
        let mut common = Common::default();
        let connection = session::connected(
            &mut self.connection,
            &self.settings,
            &self.application_name,
            &self.patience,
        )
        .await?;
        let rows = sqlx::query_with(sql, arguments).fetch(connection);
        Ok(rows
            .map_err(unreadable)
            .and_then(move |row| ready(token(&row, &columns, &mut common).map_err(unreadable)))
            .boxed())
    }

    /// Whether there are any: mostly not, and then one look at the table is enough. The run waits for that with nothing else to
    /// do, so the database may use parallel workers for it, as far as it has any to spare; a page is for one.
    async fn has_rivals(&mut self, apps: &AppMap) -> Result<bool, SourceError> {
        let sql = AssertSqlSafe(contested(&self.plan, apps));
        let connection = self.session().await?;
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

/// Expressions and conditions of the user's are worked out for every row here: their errors are the rows', and may quote
/// values.
fn unreadable(error: sqlx::Error) -> SourceError {
    row_error(error, None)
}

fn token(row: &PgRow, columns: &[Column], common: &mut Common) -> Result<LegacyToken, sqlx::Error> {
    let key: &str = row.try_get(0)?;
    // None of these columns holds any.
    let mut secrets = SecretTexts::default();
    decode::token(row, SourceKey::from(key), columns, common, &mut secrets).map(|(token, _)| token)
}

fn trimmed(text: &str) -> String {
    format!("btrim({text}, e' \\t\\n\\r\\f\\x0b')")
}

fn not_blank(text: &str) -> String {
    format!("{} <> ''", trimmed(text))
}

/// A hash that equal destinations have in common, and others seldom. It is taken of every row, so it is made of little: hashes of
/// texts without the white space around them, by which what is blank becomes what is not there, each seeding the next.
fn place(plan: &Plan, app_id: &str) -> String {
    let text = |field| plan.column(field).map(|column| column.sql.as_str());
    let user = match (text(Field::UserId), text(Field::LoginId)) {
        (Some(user), Some(login)) => Some(format!(
            "coalesce(nullif({}, ''), {})",
            trimmed(user),
            trimmed(login)
        )),
        (user, login) => user.or(login).map(trimmed),
    };
    let tenant = text(Field::TenantId).map(trimmed);
    let external = text(Field::ExternalIdentifier).map(str::to_owned);
    let app = format!("hashtextextended({app_id} collate \"C\", 0)");
    [external, tenant, user]
        .into_iter()
        .flatten()
        .fold(app, |seed, text| {
            format!("hashtextextended(coalesce({text}, '') collate \"C\", {seed})")
        })
}

/// What stands for the app of a row, and how it is come by.
struct MappedApp {
    /// Its ID, if the row names one that has an entry.
    id: String,
    /// The hash of the row's place.
    place: String,
    /// Joins the entries, where there are any.
    join: String,
}

/// Two legacy names may stand for one app; a name without an entry has no destination. No column of the relation's is called as
/// these are.
fn mapped_app(plan: &Plan, apps: &AppMap) -> MappedApp {
    let app = plan
        .column(Field::App)
        .map_or("null::text", |column| column.sql.as_str());
    if apps.entries().is_none() {
        return MappedApp {
            id: exact(app),
            place: place(plan, app),
            join: String::new(),
        };
    }
    let (name, id) = ("\"tokenferry name\"", "\"tokenferry id\"");
    MappedApp {
        id: id.to_owned(),
        place: place(plan, id),
        join: format!(
            " join unnest($1::text[], $2::text[]) as \"tokenferry apps\" ({name}, {id}) on {name} = ({app}) collate \"C\""
        ),
    }
}

/// What the queries' parameters stand for.
fn arguments(apps: &AppMap) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    if let Some(entries) = apps.entries() {
        let (names, ids): (Vec<String>, Vec<String>) = entries.unzip();
        arguments.add(names).map_err(sqlx::Error::Encode)?;
        arguments.add(ids).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A text as it is, unless it is blank. "C" compares letter by letter, as the screen does, whatever the columns' own collations
/// are.
fn exact(text: &str) -> String {
    format!("case when {} then ({text}) collate \"C\" end", not_blank(text))
}

/// Counts the places that several rows seem to have.
fn contested(plan: &Plan, apps: &AppMap) -> String {
    let MappedApp { place, join, .. } = mapped_app(plan, apps);
    format!(
        "select count(*) from (select from {from}{join}{filter} group by {place} having count(*) > 1) as contested",
        from = plan.from,
        filter = plan.filter(None),
    )
}

/// Counts hashes first, and ranks only the rows whose hash occurs twice: a table without rivals is not sorted, and looked at
/// once. What is blank counts as none, and rows without a destination rival nobody, as in the screen. Where a row has no user
/// but a login ID, the latter is compared: that two of them may be one user's is nothing that the source knows.
fn query(plan: &Plan, apps: &AppMap, after_key: bool) -> String {
    let MappedApp {
        id: app_id,
        place,
        join,
    } = mapped_app(plan, apps);
    let text = |field| {
        plan.column(field)
            .map_or("null::text", |column| column.sql.as_str())
    };
    let id = |field| exact(text(field));
    // White space for a user beside a tenant is neither's: the screen turns such a row down.
    let blank = |field| {
        let text = text(field);
        format!("coalesce({text} <> '' and not ({}), false)", not_blank(text))
    };
    let user_blank = format!("({} or {})", blank(Field::UserId), blank(Field::LoginId));
    let after = if after_key {
        let parameter = if apps.entries().is_some() { 3 } else { 1 };
        format!(" and key_value > ${parameter}::text::{}", plan.key_type.sql())
    } else {
        String::new()
    };
    let mapped = FIELDS.iter().filter(|&&field| plan.column(field).is_some());
    let columns = mapped.fold(String::new(), |list, field| list + ", " + field.name());
    format!(
        "with contested as materialized (
             select {place} as place from {from}{join}{filter} group by 1 having count(*) > 1
         ), named as (
             select {key}::text as key_text, {key} as key_value, {app} as app, {app_id} as app_id, {user} as user_id,
                    case when {user} is null then {login} end as login_id, {tenant} as tenant_id, {user_blank} as user_blank,
                    nullif(({external}) collate \"C\", '') as external_identifier, {version} as updated_at, {newness} as newness,
                    {place} as place
             from {from}{join}{filter}
         ), ranked as (
             select *, row_number() over (partition by app_id, user_id, login_id, tenant_id, external_identifier
                                          order by newness desc nulls last, {tie_break} desc) as rank
             from named
             where place in (select place from contested) and app is not null
                   and (user_id is not null or login_id is not null or tenant_id is not null and not user_blank)
         )
         select key_text{columns} from ranked where rank > 1{after}",
        key = plan.key,
        app = id(Field::App),
        user = id(Field::UserId),
        login = id(Field::LoginId),
        tenant = id(Field::TenantId),
        external = text(Field::ExternalIdentifier),
        version = text(Field::UpdatedAt),
        newness = plan.column(Field::UpdatedAt).map_or("null::text", |column| column.raw.as_str()),
        from = plan.from,
        filter = plan.filter(None),
        // As `SourceKey::is_after` has it: integers as numbers, everything else byte by byte.
        tie_break = if plan.key_type == KeyType::Integer { "key_value" } else { "key_text collate \"C\"" },
    )
}
