//! One run of a migration at a time, and beside it one that verifies.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};

use super::{Ledger, LedgerError, session};
use crate::{config::LedgerAccess, postgres::Failure};

/// Held for as long as a run lasts: an advisory lock in a transaction that stays open on a connection of its own. The
/// server gives it up when the connection ends, so a killed process cannot leave it behind, and a pooler cannot hand it to
/// somebody else. The transaction holds no snapshot, so it is in nobody's way.
#[derive(Debug)]
pub struct Lock {
    connection: PgConnection,
    what: Locked,
}

/// What only one process may do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// Change what is at the API.
    Migration,
    /// Read it back.
    Verification,
}

impl Locked {
    /// The lock's name. Two ledgers in one database are two schemas, so the schema belongs into it.
    fn name(self, schema: &str, migration: &str) -> String {
        match self {
            Self::Migration => format!("tokenferry/{schema}/{migration}"),
            Self::Verification => format!("tokenferry verify/{schema}/{migration}"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Migration => "run",
            Self::Verification => "verification",
        }
    }
}

/// How often it is made sure that the lock is still held.
const CHECK_EVERY: Duration = Duration::from_secs(5);

impl Ledger {
    /// Takes one of the migration's locks.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if another process has it.
    pub async fn lock(&self, access: &LedgerAccess, what: Locked) -> Result<Lock, LedgerError> {
        let mut connection = session::connect(access).await?;
        connection
            .execute(
                "begin; set local idle_in_transaction_session_timeout = 0; set local statement_timeout = 0",
            )
            .await
            .map_err(Failure::from)?;
        let name = what.name(&access.ledger.schema, &self.migration);
        let taken = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "taken!""#,
            name
        )
        .fetch_one(&mut connection)
        .await
        .map_err(Failure::from)?;
        if taken {
            Ok(Lock { connection, what })
        } else {
            Err(self.locked(what).await?)
        }
    }

    /// Keeps the lock, and takes it again if its connection is lost. Ends only with an error: when another process has
    /// it, or the database stays away. What this process still tries to send or record then is refused by its epoch.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if another process took over.
    pub async fn keep(&self, lock: &mut Lock, access: &LedgerAccess) -> LedgerError {
        loop {
            sleep(CHECK_EVERY).await;
            if lock.connection.ping().await.is_ok() {
                continue;
            }
            let begin = Instant::now();
            *lock = loop {
                match self.lock(access, lock.what).await {
                    Ok(lock) => break lock,
                    Err(LedgerError::Database(failure))
                        if failure.is_transient() && begin.elapsed() < self.patience =>
                    {
                        sleep(Duration::from_secs(1)).await;
                    }
                    // Our own former session may linger for a moment, until the server notices that it is gone.
                    Err(LedgerError::Locked { .. }) if begin.elapsed() < CHECK_EVERY => {
                        sleep(Duration::from_millis(200)).await;
                    }
                    Err(error) => return error,
                }
            };
        }
    }

    /// Who has the lock, and since when.
    pub(super) async fn locked(&self, what: Locked) -> Result<LedgerError, LedgerError> {
        let holder = sqlx::query!(
            r#"select holder, to_char(progressed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "progressed!",
                      to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "since!"
               from runs where migration = $1 and mode <> 'dry_run' and (mode = 'verify') = $2 and status = 'running'
               order by id desc limit 1"#,
            self.migration,
            what == Locked::Verification,
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(Failure::from)?;
        let (holder, since) = match holder {
            Some(run) => (
                run.holder,
                format!("{} (last progress {})", run.since, run.progressed),
            ),
            None => (
                "a process that is just starting or ending".to_owned(),
                "a moment ago".to_owned(),
            ),
        };
        Ok(LedgerError::Locked {
            what: what.word(),
            migration: self.migration.clone(),
            holder,
            since,
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
