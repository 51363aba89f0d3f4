//! Diagnostics of the ledger's database before the first run. They read only and create nothing.

use super::{LedgerError, LedgerReader};
use crate::{
    config::LedgerAccess,
    ledger::{State, fingerprint_key, schema},
    postgres::{Failure, Room, Server, Session, SharedSchema},
    secret::Secret,
};

/// A connection to the ledger's database, which need not hold a ledger yet.
#[derive(Debug)]
pub struct LedgerDiagnostics {
    pub(in crate::ledger) reader: LedgerReader,
    pepper: Option<Secret>,
}

/// Privileges that the role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The privileges, as `grant` spells them.
    pub privileges: String,
    /// The object they are needed on.
    pub on: String,
}

/// The server's settings that decide whether a confirmed commit survives a crash.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Durability {
    /// The server waits for the disk.
    pub fsync: bool,
    /// A page that was written in part can be restored.
    pub full_page_writes: bool,
    /// The initial value for sessions of this role in this database; the ledger's own sessions raise it.
    pub synchronous_commit: String,
}

impl LedgerDiagnostics {
    /// Connects for reading.
    ///
    /// # Errors
    /// If the database is unreachable or denies access.
    pub async fn open(access: &LedgerAccess) -> Result<Self, LedgerError> {
        Ok(Self {
            reader: LedgerReader::connect(access).await?,
            pepper: access.ledger.pepper.clone(),
        })
    }

    /// Returns the properties of the server.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn server(&mut self) -> Result<Server, LedgerError> {
        Ok(Server::ask(&mut self.reader.connection).await?)
    }

    /// Returns the limits on the number of sessions.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn room(&mut self) -> Result<Room, LedgerError> {
        Ok(Room::ask(&mut self.reader.connection).await?)
    }

    /// Returns schemas of the session's search path in which other roles may create objects.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn shared_schemas(&mut self) -> Result<Vec<SharedSchema>, LedgerError> {
        Ok(SharedSchema::find(&mut self.reader.connection).await?)
    }

    /// Checks that the database can store every name.
    ///
    /// # Errors
    /// [`LedgerError::Encoding`] if it cannot, or if the database does not answer.
    pub async fn check_encoding(&mut self) -> Result<(), LedgerError> {
        schema::check_encoding(&mut self.reader.connection).await
    }

    /// Returns the settings that decide whether a confirmed commit survives a crash.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn durability(&mut self) -> Result<Durability, LedgerError> {
        // `reset_val` is the initial value of the session, whatever it set since.
        let found = sqlx::query_as(
            "select current_setting('fsync')::bool as fsync, current_setting('full_page_writes')::bool as full_page_writes,
                    (select reset_val from pg_settings where name = 'synchronous_commit') as synchronous_commit",
        )
        .fetch_one(&mut self.reader.connection)
        .await;
        Ok(found?)
    }

    /// Returns the state of the schema.
    ///
    /// # Errors
    /// If a newer version created it, or it is not as any version creates it.
    pub async fn state(&mut self) -> Result<State, LedgerError> {
        schema::state(&mut self.reader.connection, &self.reader.schema).await
    }

    /// Returns the privileges that the role lacks to create, update or use a ledger in this state.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn missing(&mut self, state: &State) -> Result<Vec<Missing>, LedgerError> {
        let schema = &self.reader.schema;
        let connection = &mut self.reader.connection;
        let missing = match state {
            State::NoSchema => database_privileges(connection).await?,
            State::Empty => schema_privileges(connection, schema, &["usage", "create"]).await?,
            State::Behind(_) => {
                let mut missing = schema_privileges(connection, schema, &["usage", "create"]).await?;
                missing.extend(tables_of_others(connection, schema).await?);
                missing
            }
            State::Current => table_privileges(connection, schema).await?,
        };
        Ok(missing)
    }

    /// Returns whether the pepper is that of the ledger; `true` if there is no ledger yet.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pepper_fits(&mut self) -> Result<bool, LedgerError> {
        match fingerprint_key::fetch(&mut self.reader.connection, self.pepper.as_ref()).await {
            Ok(_) => Ok(true),
            Err(LedgerError::Pepper) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the session.
    pub async fn close(self) {
        self.reader.close().await;
    }
}

async fn database_privileges(connection: &mut Session) -> Result<Vec<Missing>, Failure> {
    let (database, may_create): (String, bool) = sqlx::query_as(
        "select quote_ident(current_database()), has_database_privilege(current_database(), 'create')",
    )
    .fetch_one(connection)
    .await?;
    let missing = (!may_create).then(|| Missing {
        privileges: "create".to_owned(),
        on: format!("database {database}"),
    });
    Ok(missing.into_iter().collect())
}

async fn schema_privileges(
    connection: &mut Session,
    schema: &str,
    wanted: &[&str],
) -> Result<Vec<Missing>, Failure> {
    let (name, lacking): (String, Vec<String>) = sqlx::query_as(
        "select quote_ident($1), array(select wanted from unnest($2::text[]) as wanted \
                                       where not has_schema_privilege($1, wanted))",
    )
    .bind(schema)
    .bind(
        wanted
            .iter()
            .map(|&privilege| privilege.to_owned())
            .collect::<Vec<_>>(),
    )
    .fetch_one(connection)
    .await?;
    let missing = (!lacking.is_empty()).then(|| Missing {
        privileges: lacking.join(", "),
        on: format!("schema {name}"),
    });
    Ok(missing.into_iter().collect())
}

/// Returns tables of other owners: only the owner may alter a table.
async fn tables_of_others(connection: &mut Session, schema: &str) -> Result<Vec<Missing>, Failure> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and (c.relkind = 'r' or c.relname in ('tokens', 'batch_tokens', 'acknowledged')) and not pg_has_role(c.relowner, 'usage') order by 1",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    let missing = tables.into_iter().map(|table| Missing {
        privileges: "ownership".to_owned(),
        on: format!("table {table}"),
    });
    Ok(missing.collect())
}

/// Returns the privileges that a run needs on a table. From most tables it never deletes.
fn needed(table: &str) -> &'static [&'static str] {
    match table {
        // The latter are views.
        "_sqlx_migrations" | "tokens" | "batch_tokens" | "acknowledged" => &["select"],
        "fingerprint_key" => &["select", "insert"],
        "dry_run_rows" | "known_users" | "forgotten_tokens" | "clean_ranges" | "acknowledgements"
        | "run_failures" => &["select", "insert", "update", "delete"],
        _ => &["select", "insert", "update"],
    }
}

async fn table_privileges(connection: &mut Session, schema: &str) -> Result<Vec<Missing>, Failure> {
    let mut missing = schema_privileges(connection, schema, &["usage"]).await?;
    let tables: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "select c.relname::text, format('%I.%I', n.nspname, c.relname),
                array(select wanted from unnest(array['select', 'insert', 'update', 'delete']) as wanted
                      where not has_table_privilege(c.oid, wanted))
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and (c.relkind = 'r' or c.relname in ('tokens', 'batch_tokens', 'acknowledged')) order by 1",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    for (name, table, mut lacking) in tables {
        lacking.retain(|privilege| needed(&name).contains(&privilege.as_str()));
        if !lacking.is_empty() {
            missing.push(Missing {
                privileges: lacking.join(", "),
                on: format!("table {table}"),
            });
        }
    }
    Ok(missing)
}
