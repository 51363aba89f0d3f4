//! The ledger's tables, made and updated by the migrations that ship in the binary.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, migrate::MigrateError};

use super::LedgerError;
use crate::postgres::{Failure, Session, quote_identifier};

/// What there is of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not even its schema.
    NoSchema,
    /// A schema without the ledger's tables.
    Empty,
    /// Made by an earlier version: so many migrations are still to come.
    Behind(usize),
    /// As this version wants it.
    Current,
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Bringing a large ledger up to date may rewrite its tables.
const MIGRATION: Duration = Duration::from_hours(1);

/// Brings the schema up to date. Safe to run twice, and by two processes at once: the migrator takes a lock.
pub(super) async fn migrate(connection: &mut Session, schema: &str) -> Result<(), LedgerError> {
    let state = state(connection, schema).await?;
    if state == State::NoSchema {
        // Only asked for where it is missing, since the privilege to create one is not needed otherwise.
        let create = format!("create schema if not exists {}", quote_identifier(schema));
        if let Err(error) = connection.execute(AssertSqlSafe(create)).await {
            let lost_a_race = error
                .as_database_error()
                .is_some_and(|error| matches!(error.code().as_deref(), Some("42P06" | "23505")));
            if !lost_a_race {
                return Err(not_made(error));
            }
        }
    }
    if state == State::Current {
        // The migrator would ask for the right to create tables even if there is nothing to create.
        return Ok(());
    }
    // `create table if not exists` speaks up each time.
    connection.execute("set client_min_messages to warning").await?;
    connection
        .bounded(MIGRATION, |connection| MIGRATIONS.run(connection))
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(_) => newer(schema),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => not_made(error),
            MigrateError::VersionMismatch(version) => another_form(version),
            MigrateError::Dirty(version) => unfinished(version),
            other => LedgerError::Schema(format!("{other:?}").chars().take(120).collect()),
        })
}

/// Refuses a database that would take the names of some rows and not of others: a run would end there every time.
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

/// How far the schema is, without a change to it.
pub(super) async fn state(connection: &mut Session, schema: &str) -> Result<State, LedgerError> {
    let known: bool = sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(State::NoSchema);
    }
    // Without the right to use the schema, a table in it would look as if it were not there; this is refused instead.
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
            Some(_) if !finished => return Err(unfinished(*version)),
            Some(migration) if *migration.checksum != checksum[..] => return Err(another_form(*version)),
            Some(_) => {}
        }
    }
    match MIGRATIONS.iter().count() - applied.len() {
        0 => Ok(State::Current),
        _ if applied.is_empty() => Ok(State::Empty),
        pending => Ok(State::Behind(pending)),
    }
}

/// What is raised by hand while tables are made is an event trigger's.
fn not_made(error: sqlx::Error) -> LedgerError {
    let failure = Failure::from(error);
    if failure
        .sqlstate
        .as_deref()
        .is_some_and(|state| state.starts_with("P0"))
    {
        return Failure::withheld(
            "something in the ledger's database forbids making its tables, most likely an event trigger: have it let this role make them, \
             or let a role that may run `tokenferry migrate` once",
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

fn another_form(version: i64) -> LedgerError {
    LedgerError::Schema(format!(
        "migration {version} was applied in another form than this version has it"
    ))
}

fn unfinished(version: i64) -> LedgerError {
    LedgerError::Schema(format!("migration {version} was begun and not finished"))
}

/// Whether the tables are there. A schema out of sight is an error of its own, not an absent ledger.
pub(super) async fn is_present(connection: &mut Session, schema: &str) -> Result<bool, LedgerError> {
    let present: Option<bool> = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{}.runs", quote_identifier(schema)))
        .fetch_one(connection)
        .await?;
    Ok(present.unwrap_or(false))
}
