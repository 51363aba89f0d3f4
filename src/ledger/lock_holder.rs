//! The database session that holds a lock, found among the server's locks. An attempt to take the lock, even
//! for a moment, could reject a run that starts then.
//!
//! Every role that may connect to the database can take an advisory lock. Only a role that may write to the
//! ledger's runs can belong to a run; any other holder is foreign.

use std::fmt;

use sqlx::PgExecutor;

use crate::{domain::visible, postgres::quote_identifier};

/// The work that only one process may do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Changing tokens at the API.
    Migration,
    /// Reading tokens back.
    Verification,
}

impl LockKind {
    /// Returns the lock's name. It contains the schema because one database may hold several ledgers.
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
    /// The server process of the session, as `pg_terminate_backend` takes it.
    pid: i32,
    role: String,
    database: String,
    application: String,
    /// Start of the session. Postgres shows it only to the same role, members of `pg_read_all_stats` and
    /// superusers.
    since: Option<String>,
    /// The role can neither write to the ledger nor become a role that can.
    pub(super) is_foreign: bool,
}

impl LockHolder {
    /// Finds the session that holds the lock of this name; `None` if no session holds it.
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

    /// Returns the statements with which a superuser ends a foreign holder.
    pub(super) fn remedy(&self) -> String {
        format!(
            "end it with `select pg_terminate_backend({})` as a superuser, and keep such roles from connecting: `revoke connect on database {} \
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
