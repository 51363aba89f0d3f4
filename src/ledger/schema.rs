//! The ledger's schema, created and updated by the migrations in the binary.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, migrate::MigrateError};

use super::LedgerError;
use crate::postgres::{Failure, Session, quote_identifier};

/// The state of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The schema does not exist.
    NoSchema,
    /// The schema has none of the ledger's tables.
    Empty,
    /// An earlier version created it; this many migrations are pending.
    Behind(usize),
    /// The schema is as this version expects it.
    Current,
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Limit for updating a large ledger, which may rewrite its tables.
const MIGRATION: Duration = Duration::from_hours(1);

/// Updates the schema. Two processes may do so at once: the migrator takes a lock.
pub(super) async fn migrate(connection: &mut Session, schema: &str) -> Result<(), LedgerError> {
    let state = state(connection, schema).await?;
    if state == State::NoSchema {
        // Created only if it is missing: otherwise the role needs no privilege to create schemas.
        let create = format!("create schema if not exists {}", quote_identifier(schema));
        if let Err(error) = connection.execute(AssertSqlSafe(create)).await {
            let created_meanwhile = error
                .as_database_error()
                .is_some_and(|error| matches!(error.code().as_deref(), Some("42P06" | "23505")));
            if !created_meanwhile {
                return Err(creation_failure(error));
            }
        }
    }
    if state == State::Current {
        // The migrator asks for the privilege to create tables even if there is nothing to create.
        return Ok(());
    }
    // `create table if not exists` sends a notice each time.
    connection.execute("set client_min_messages to warning").await?;
    connection
        .bounded(MIGRATION, |connection| MIGRATIONS.run(connection))
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(_) => newer(schema),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                creation_failure(error)
            }
            MigrateError::VersionMismatch(version) => changed_migration(version),
            MigrateError::Dirty(version) => unfinished_migration(version),
            other => LedgerError::Schema(format!("{other:?}").chars().take(120).collect()),
        })
}

/// Rejects a database whose encoding cannot store every name: a run would fail at such a name every time.
pub(super) async fn check_encoding(connection: &mut Session) -> Result<(), LedgerError> {
    let encoding: String = sqlx::query_scalar("select current_setting('server_encoding')")
        .fetch_one(connection)
        .await?;
    if encoding == "UTF8" {
        Ok(())
    } else {
        Err(LedgerError::Encoding(encoding))
    }
}

/// Returns the state of the schema without changing it.
pub(super) async fn state(connection: &mut Session, schema: &str) -> Result<State, LedgerError> {
    let known: bool = sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(State::NoSchema);
    }
    // Fails without the privilege to use the schema. A table in such a schema must not look as if it did not
    // exist.
    let table = format!("{}._sqlx_migrations", quote_identifier(schema));
    let present: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&table)
        .fetch_one(&mut *connection)
        .await?;
    if !present {
        return Ok(State::Empty);
    }
    let sql = format!("select version, success, checksum from {table} order by version");
    let applied: Vec<(i64, bool, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(&mut *connection)
        .await?;
    for (version, finished, checksum) in &applied {
        match MIGRATIONS.iter().find(|migration| migration.version == *version) {
            None => return Err(newer(schema)),
            Some(_) if !finished => return Err(unfinished_migration(*version)),
            Some(migration) if *migration.checksum != checksum[..] => {
                return Err(changed_migration(*version));
            }
            Some(_) => {}
        }
    }
    match MIGRATIONS.iter().count() - applied.len() {
        0 => Ok(State::Current),
        _ if applied.is_empty() => Ok(State::Empty),
        pending => Ok(State::Behind(pending)),
    }
}

/// Names event triggers as the likely cause of an error raised by a function while tables are created.
fn creation_failure(error: sqlx::Error) -> LedgerError {
    let failure = Failure::from(error);
    if failure
        .sqlstate
        .as_deref()
        .is_some_and(|state| state.starts_with("P0"))
    {
        return Failure::withheld(
            "something in the ledger's database prevents the creation of its tables, most likely an event trigger; let this \
             role create them, or run `tokenferry migrate` once with a role that can",
        )
        .into();
    }
    failure.into()
}

fn newer(schema: &str) -> LedgerError {
    LedgerError::Newer {
        schema: schema.to_owned(),
    }
}

fn changed_migration(version: i64) -> LedgerError {
    LedgerError::Schema(format!(
        "migration {version} was applied with other contents than it has in this version"
    ))
}

fn unfinished_migration(version: i64) -> LedgerError {
    LedgerError::Schema(format!("migration {version} was started but not finished"))
}

/// Fails with [`LedgerError::Absent`] if the tables do not exist. A schema that the role may not use is
/// another error, not an absent ledger.
pub(super) async fn expect_present(connection: &mut Session, schema: &str) -> Result<(), LedgerError> {
    let present: Option<bool> = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{}.runs", quote_identifier(schema)))
        .fetch_one(connection)
        .await?;
    if present == Some(true) {
        Ok(())
    } else {
        Err(LedgerError::Absent {
            schema: schema.to_owned(),
        })
    }
}
