//! The ledger's tables, made and updated by the migrations that ship in the binary.

use sqlx::{AssertSqlSafe, Executor, PgConnection, migrate::MigrateError};

use super::{LedgerError, set_search_path};
use crate::postgres::{Failure, quote_identifier};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Brings the schema up to date. Safe to run twice, and by two processes at once: the migrator takes a lock.
pub(super) async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let known: Option<String> =
        sqlx::query_scalar("select nspname::text from pg_namespace where nspname = $1")
            .bind(schema)
            .fetch_optional(&mut *connection)
            .await
            .map_err(Failure::from)?;
    if known.is_none() {
        // Only asked for where it is missing, since the privilege to create one is not needed otherwise.
        let create = format!("create schema if not exists {}", quote_identifier(schema));
        if let Err(error) = connection.execute(AssertSqlSafe(create)).await {
            let lost_a_race = error
                .as_database_error()
                .is_some_and(|error| matches!(error.code().as_deref(), Some("42P06" | "23505")));
            if !lost_a_race {
                return Err(Failure::from(error).into());
            }
        }
    }
    // Without the right to use the schema, the migrator would only hear that there is none to create tables in.
    is_present(connection, schema).await?;
    connection
        .execute(AssertSqlSafe(set_search_path(schema)))
        .await
        .map_err(Failure::from)?;
    // `create table if not exists` speaks up each time.
    connection
        .execute("set client_min_messages to warning")
        .await
        .map_err(Failure::from)?;
    MIGRATIONS
        .run(&mut *connection)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(_) => LedgerError::Newer {
                schema: schema.to_owned(),
            },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Failure::from(error).into()
            }
            MigrateError::VersionMismatch(version) => LedgerError::Schema(format!(
                "migration {version} was applied in another form than this version has it"
            )),
            MigrateError::Dirty(version) => {
                LedgerError::Schema(format!("migration {version} was begun and not finished"))
            }
            other => LedgerError::Schema(format!("{other:?}").chars().take(120).collect()),
        })
}

/// Whether the tables are there. A schema out of sight is an error of its own, not an absent ledger.
pub(super) async fn is_present(connection: &mut PgConnection, schema: &str) -> Result<bool, LedgerError> {
    let present: Option<bool> = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{}.runs", quote_identifier(schema)))
        .fetch_one(connection)
        .await
        .map_err(Failure::from)?;
    Ok(present.unwrap_or(false))
}
