//! The inventory of a database: its tables, columns and keys, for finding out where tokens may be. Reads the
//! catalog, and of rows only whether a value has a certain form: the database looks at it, and no value
//! leaves it.

use std::time::Duration;

use serde::Deserialize;
use sqlx::AssertSqlSafe;

use crate::postgres::{Address, CATALOG_FIRST, Failure, FailureKind, Patience, Session, quote_identifier};

/// The longest time of a statement.
const LIMIT: Duration = Duration::from_secs(30);

/// The rows whose values are looked at.
const SAMPLE: u32 = 200;

/// A table or view.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// It is found without its schema.
    pub is_visible: bool,
    /// The role may read it.
    pub is_readable: bool,
    /// About how many rows it has; negative if the planner does not know.
    pub rows: i64,
    /// Its columns, in their order.
    pub columns: Vec<TableColumn>,
    /// The columns of its keys, that of the primary key first.
    pub keys: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, Clone, Deserialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub kind: String,
}

impl Table {
    /// Returns true if it has all these columns.
    #[must_use]
    pub fn has(&self, columns: &[String]) -> bool {
        let has = |wanted: &String| self.columns.iter().any(|column| column.name == *wanted);
        columns.iter().all(has)
    }

    /// Returns true if rows can be read in the order of these columns, as far as their types tell.
    #[must_use]
    pub fn can_order_by(&self, key: &[String]) -> bool {
        const OTHERS: [&str; 12] = [
            "date", "time", "interval", "boolean", "real", "double", "money", "json", "bytea", "inet",
            "cidr", "bit",
        ];
        let is_other =
            |kind: &str| kind.ends_with("[]") || OTHERS.iter().any(|other| kind.starts_with(other));
        let mut columns = self.columns.iter().filter(|column| key.contains(&column.name));
        !columns.any(|column| is_other(&column.kind))
    }

    /// Returns its name as SQL writes it.
    #[must_use]
    pub fn sql(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
        )
    }
}

/// A read-only connection for looking around.
#[derive(Debug)]
pub struct Inventory {
    session: Session,
}

impl Inventory {
    /// Connects.
    ///
    /// # Errors
    /// If the database does not answer or does not let us.
    pub async fn open(address: &Address, application_name: &str) -> Result<Self, Failure> {
        let path = address
            .schemas()
            .map(|schemas| format!("set search_path to {schemas}; "))
            .unwrap_or_default();
        let set_up = format!(
            "{path}{CATALOG_FIRST}; set default_transaction_read_only = on; set statement_timeout = '25s'; \
             set lock_timeout = '5s'; set row_security = on"
        );
        let session = Session::connect(address, application_name, LIMIT, &Patience::none(), &set_up).await?;
        Ok(Self { session })
    }

    /// The name of the database.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn database(&mut self) -> Result<String, Failure> {
        let name = sqlx::query_scalar("select pg_catalog.current_database()::text");
        Ok(name.fetch_one(&mut self.session).await?)
    }

    /// All tables and views outside the catalog, whether the role may read them or not.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn tables(&mut self) -> Result<Vec<Table>, Failure> {
        let found: Vec<(String, String, bool, bool, i64, String, String)> = sqlx::query_as(
            "select n.nspname::text, c.relname::text, pg_catalog.pg_table_is_visible(c.oid),
                    pg_catalog.has_table_privilege(c.oid, 'select')
                        and pg_catalog.has_schema_privilege(n.oid, 'usage'),
                    c.reltuples::bigint,
                    coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object(
                                        'name', a.attname, 'kind', pg_catalog.format_type(a.atttypid, a.atttypmod)) order by a.attnum)
                              from pg_catalog.pg_attribute a
                              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]')::text,
                    coalesce((select pg_catalog.json_agg(k.columns order by not k.is_primary, pg_catalog.json_array_length(k.columns))
                              from (select i.indisprimary as is_primary,
                                           (select pg_catalog.json_agg(a.attname order by position)
                                            from pg_catalog.generate_series(0, i.indnkeyatts - 1) as position
                                                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[position]
                                                                                and a.attnotnull) as columns,
                                           i.indnkeyatts
                                    from pg_catalog.pg_index i
                                    where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null) as k
                              where pg_catalog.json_array_length(k.columns) = k.indnkeyatts), '[]')::text
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
                   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_toast%'
             order by n.nspname, c.relname",
        )
        .fetch_all(&mut self.session)
        .await?;
        Ok(found
            .into_iter()
            .map(
                |(schema, name, is_visible, is_readable, rows, columns, keys)| Table {
                    schema,
                    name,
                    is_visible,
                    is_readable,
                    rows,
                    // Made by the query above.
                    columns: serde_json::from_str(&columns).unwrap_or_default(),
                    keys: serde_json::from_str(&keys).unwrap_or_default(),
                },
            )
            .collect())
    }

    /// Tells whether one of a few hundred values has this form. A table that cannot be read has none.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn has_value_like(
        &mut self,
        table: &Table,
        column: &str,
        pattern: &str,
    ) -> Result<bool, Failure> {
        if !table.is_readable {
            return Ok(false);
        }
        let column = quote_identifier(column);
        let sql = format!(
            "select exists (select from (select {column}::pg_catalog.text as value from {} where {column} is not null limit {SAMPLE}) as sample
                            where value operator(pg_catalog.~) $1)",
            table.sql()
        );
        match sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(pattern)
            .fetch_one(&mut self.session)
            .await
        {
            Ok(found) => Ok(found),
            Err(error) => match Failure::from(error).without_message() {
                // Of a type without text, or behind a policy.
                failure if failure.kind == FailureKind::Rejected => Ok(false),
                failure => Err(failure),
            },
        }
    }

    /// Ends the session.
    pub async fn close(self) {
        self.session.close().await;
    }
}
