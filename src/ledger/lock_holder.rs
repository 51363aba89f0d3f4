//! The database session that holds a lock, looked up among the server's locks: trying to take the lock, even for a moment, would
//! turn away a run that begins then.
//!
//! An advisory lock can be taken by every role that may connect to the database. Only one that may write the ledger's runs can be
//! a run's; any other holder is foreign, and no run.

use std::fmt;

use sqlx::PgExecutor;

use crate::{domain::visible, postgres::quote_identifier};

/// What only one process may do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Change what is at the API.
    Migration,
    /// Read it back.
    Verification,
}

impl LockKind {
    /// The lock's name. Two ledgers in one database are two schemas, so the schema belongs into it.
    pub(super) fn name(self, schema: &str, migration: &str) -> String {
        match self {
            Self::Migration => format!("tokenferry/{schema}/{migration}"),
            Self::Verification => format!("tokenferry verify/{schema}/{migration}"),
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Migration => "run",
            Self::Verification => "verification",
        }
    }
}

/// A session that holds a lock.
#[derive(Debug)]
pub(super) struct LockHolder {
    /// The server's process for the session, as `pg_terminate_backend` takes it.
    pid: i32,
    role: String,
    database: String,
    application: String,
    /// When the session began; the server tells only its own role, members of `pg_read_all_stats` and superusers.
    since: Option<String>,
    /// The role can neither keep the ledger nor become one that can.
    pub(super) is_foreign: bool,
}

impl LockHolder {
    /// The session that holds the lock of this name; `None` if there is none, or it has ended meanwhile.
    pub(super) async fn find(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query_as!(
            Self,
            r#"select a.pid as "pid!", coalesce(a.usename::text, 'none') as "role!", current_database()::text as "database!",
                      coalesce(a.application_name, '') as "application!",
                      to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as since,
                      not (a.usename = session_user
                           or coalesce(has_table_privilege(a.usesysid, to_regclass('runs')::oid, 'insert'), false)
                           or exists (select from pg_class r
                                      where r.oid = to_regclass('runs') and pg_has_role(a.usesysid, r.relowner, 'member'))
                          ) as "is_foreign!"
               from pg_locks l join pg_stat_activity a on a.pid = l.pid
               where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                 and l.database = (select oid from pg_database where datname = current_database())
                 and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 0)
               limit 1"#,
            name,
        )
        .fetch_optional(executor)
        .await
    }

    /// What a superuser can do about a foreign holder.
    pub(super) fn remedy(&self) -> String {
        format!(
            "end it with `select pg_terminate_backend({})` as a superuser, and keep such roles out: `revoke connect on database {} \
             from public`, and grant it to the roles that need it",
            self.pid,
            visible(&quote_identifier(&self.database)),
        )
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the database session with PID {}, role \"{}\", application \"{}\", connected since {}",
            self.pid,
            visible(&self.role),
            visible(&self.application),
            self.since
                .as_deref()
                .unwrap_or("a time that the server hides from this role"),
        )
    }
}
