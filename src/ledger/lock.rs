//! One run of a migration at a time.

use sqlx::{Connection, PgConnection};

use super::{Ledger, LedgerError, connect};
use crate::{config::LedgerAccess, postgres::Failure};

/// Held for as long as a run lasts: an advisory lock on a connection of its own. The server gives it up when the
/// connection ends, so a killed process cannot leave it behind.
#[derive(Debug)]
pub struct Lock {
    connection: PgConnection,
}

impl Ledger {
    /// Takes the migration's lock.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if another process has it.
    pub async fn lock(&self, access: &LedgerAccess) -> Result<Lock, LedgerError> {
        let mut connection = connect(&super::options(access)?).await?;
        // Two ledgers in one database are two schemas, so the schema belongs into the lock's name.
        let name = format!("tokenferry/{}/{}", access.ledger.schema, self.migration);
        let taken = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtextextended($1, 0)) as "taken!""#,
            name
        )
        .fetch_one(&mut connection)
        .await
        .map_err(Failure::from)?;
        if taken {
            return Ok(Lock { connection });
        }
        let holder = sqlx::query!(
            r#"select holder, to_char(progressed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "progressed!",
                      to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "since!"
               from runs where migration = $1 and status = 'running' order by id desc limit 1"#,
            self.migration,
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(Failure::from)?;
        Err(match holder {
            Some(run) => LedgerError::Locked {
                migration: self.migration.clone(),
                holder: run.holder,
                since: format!("{} (last progress {})", run.since, run.progressed),
            },
            None => LedgerError::Locked {
                migration: self.migration.clone(),
                holder: "a process that is just starting or ending".to_owned(),
                since: "a moment ago".to_owned(),
            },
        })
    }
}

impl Lock {
    /// Gives the lock up.
    pub async fn release(self) {
        // If the goodbye fails, the connection is gone, and the lock with it.
        let _ = self.connection.close().await;
    }
}
