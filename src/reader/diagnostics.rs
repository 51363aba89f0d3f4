//! Diagnostics of the source before the first run. Reads only, and holds nothing.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};

use super::{
    Source, SourceError, key,
    plan::{Bounds, Plan, from_clause},
    session, session_settings, validate,
};
use crate::{
    config::{Field, Relation, SourceSettings},
    domain::LegacyToken,
    postgres::{Failure, Patience, Room, Server, Session, SharedSchema, quote_identifier},
};

/// A connection to the source that was made to look around.
#[derive(Debug)]
pub struct SourceDiagnostics {
    connection: Session,
    settings: SourceSettings,
    application_name: String,
    plan: Option<Plan>,
}

/// A relation, and what the role may do to it besides reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// Its name.
    pub relation: String,
    /// Among insert, update, delete and truncate.
    pub privileges: Vec<String>,
}

/// The indexes for finding a page by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIndex {
    /// The unique index on columns of the key alone; `None` for a query, which has no indexes of its own.
    pub unique: Option<String>,
    /// Rows can be read in the key's order without sorting all of them for every page.
    pub gives_order: bool,
}

impl SourceDiagnostics {
    /// Opens the session that a run would open, without the values of `[source.session]` as yet.
    ///
    /// # Errors
    /// If the database does not answer or does not let us.
    pub async fn open(settings: &SourceSettings, application_name: &str) -> Result<Self, Failure> {
        Ok(Self {
            connection: session::open(settings, application_name, &Patience::none()).await?,
            settings: settings.clone(),
            application_name: application_name.to_owned(),
            plan: None,
        })
    }

    /// The server.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn server(&mut self) -> Result<Server, Failure> {
        Server::ask(&mut self.connection).await
    }

    /// Returns the limits on sessions.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn room(&mut self) -> Result<Room, Failure> {
        Room::ask(&mut self.connection).await
    }

    /// Schemas of the session's search path in which others may create objects.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn shared_schemas(&mut self) -> Result<Vec<SharedSchema>, Failure> {
        SharedSchema::find(&mut self.connection).await
    }

    /// Gives the session the values of `[source.session]`, as every run does.
    ///
    /// # Errors
    /// If the server does not take them, or would write them into its log.
    pub async fn apply_session_settings(&mut self) -> Result<(), Failure> {
        session_settings::apply_session_settings(&mut self.connection, &self.settings.session).await
    }

    /// Holds the configuration against the database, as every run does before its first page.
    ///
    /// # Errors
    /// If they do not fit, or the database does not let us.
    pub async fn inspect(&mut self) -> Result<(), SourceError> {
        self.plan = Some(validate::inspect(&mut self.connection, &self.settings).await?);
        Ok(())
    }

    /// About `count` rows from all over the source, read as a run would read them.
    ///
    /// # Errors
    /// If they cannot be had.
    pub async fn sample(&mut self, count: u32) -> Result<Vec<LegacyToken>, SourceError> {
        let mut source = Source::open(&self.settings, &self.application_name, &Patience::none()).await?;
        source.sample(count).await
    }

    /// About how many rows there are, where the planner has an idea.
    pub async fn expected_rows(&mut self) -> Option<u64> {
        validate::expected_rows(&mut self.connection, &self.settings).await
    }

    /// The relations that are read and that the role could also write to.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn writable(&mut self) -> Result<Vec<Writable>, Failure> {
        let relations = match &self.settings.relation {
            relation @ Relation::Table(_) => vec![from_clause(relation)],
            relation @ Relation::Query(_) => self.relations_behind(&from_clause(relation)).await?,
        };
        let found: Vec<(String, Vec<String>)> = sqlx::query_as(
            "select relation::text, pg_catalog.array_remove(array[
                        case when pg_catalog.has_table_privilege(relation, 'insert')
                                  or pg_catalog.has_any_column_privilege(relation, 'insert') then 'insert' end,
                        case when pg_catalog.has_table_privilege(relation, 'update')
                                  or pg_catalog.has_any_column_privilege(relation, 'update') then 'update' end,
                        case when pg_catalog.has_table_privilege(relation, 'delete') then 'delete' end,
                        case when pg_catalog.has_table_privilege(relation, 'truncate') then 'truncate' end], null)
             from (select pg_catalog.to_regclass(name) as relation from pg_catalog.unnest($1::text[]) as name) as relations
             where relation is not null",
        )
        .bind(relations)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(found
            .into_iter()
            .filter(|(_, privileges)| !privileges.is_empty())
            .map(|(relation, privileges)| Writable { relation, privileges })
            .collect())
    }

    /// Returns the relations that a query reads from, according to the planner.
    async fn relations_behind(&mut self, from: &str) -> Result<Vec<String>, Failure> {
        let sql = format!("explain (verbose, format json) select * from {from}");
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await?;
        let mut relations = BTreeSet::new();
        for node in nodes(&plan) {
            if let (Some(schema), Some(name)) = (text(node, "Schema"), text(node, "Relation Name")) {
                relations.insert(format!("{}.{}", quote_identifier(schema), quote_identifier(name)));
            }
        }
        Ok(relations.into_iter().collect())
    }

    /// Returns the indexes for finding a page by its key; `None` until [`inspect`](Self::inspect) succeeds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn key_index(&mut self) -> Result<Option<KeyIndex>, Failure> {
        let Some(plan) = &self.plan else {
            return Ok(None);
        };
        let page = format!(
            "explain (format json) {}",
            plan.page(Bounds::NONE, self.settings.page_size)
        );
        let unique = match &self.settings.relation {
            Relation::Table(_) => {
                key::unique_index(&mut self.connection, &plan.from, &self.settings.key).await?
            }
            Relation::Query(_) => None,
        };
        // The planner's choice for few rows says nothing about many. With everything else disabled, it sorts
        // only if no index gives the order.
        self.connection
            .execute(
                "begin; set local enable_sort = off; set local enable_seqscan = off; set local enable_bitmapscan = off",
            )
            .await?;
        let explained: Result<Value, _> = sqlx::query_scalar(AssertSqlSafe(page))
            .fetch_one(&mut self.connection)
            .await;
        self.connection.execute("rollback").await?;
        let explained = explained?;
        let sorts = nodes(&explained)
            .iter()
            .any(|node| matches!(text(node, "Node Type"), Some("Sort" | "Incremental Sort")));
        Ok(Some(KeyIndex {
            unique,
            gives_order: !sorts,
        }))
    }

    /// The different legacy names of apps, `limit` at most. `None` before [`inspect`](Self::inspect) found
    /// all well.
    ///
    /// # Errors
    /// If the database does not answer, or not within its statement timeout.
    pub async fn app_names(&mut self, limit: u32) -> Result<Option<Vec<String>>, Failure> {
        let Some((plan, app)) = self
            .plan
            .as_ref()
            .and_then(|plan| Some((plan, plan.column(Field::App)?)))
        else {
            return Ok(None);
        };
        let sql = format!(
            "select distinct app from (select {} as app from {}{}) as named \
             where pg_catalog.btrim(app) operator(pg_catalog.<>) '' limit {limit}",
            app.selected,
            plan.from,
            plan.filter(None)
        );
        let mut names: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut self.connection)
            .await
            // Worked out for every row: the message may quote one.
            .map_err(|error| Failure::from(error).without_message())?;
        names.sort();
        Ok(Some(names))
    }

    /// Ends the session.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// Every node of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    let mut open = vec![plan];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(fields) => {
                found.push(value);
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    found
}

fn text<'a>(node: &'a Value, field: &str) -> Option<&'a str> {
    node.get(field).and_then(Value::as_str)
}
