//! Session limits: how many sessions the server allows this role in this database.

use super::{Failure, Session};

/// The limits that a session counts against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Identifies a server regardless of the address. A standby differs from its primary.
    pub server: String,
    /// The limits of the role, the database and the server.
    pub limits: Vec<Limit>,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Limit {
    /// The object that has the limit, as SQL names it.
    pub of: String,
    /// The limit. `None` if there is none or it does not apply to a superuser, whose sessions still count for
    /// others.
    pub limit: Option<i64>,
    /// The sessions that others use now.
    pub taken: i64,
}

impl Room {
    /// Asks the server. Sessions with the same name as this one count as free: they belong to this migration.
    ///
    /// # Errors
    /// Fails if the server does not respond.
    pub async fn ask(session: &mut Session) -> Result<Self, Failure> {
        // Microseconds, regardless of the session's time zone.
        let server = sqlx::query_scalar(
            "select (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text || ' '
                    || pg_catalog.current_setting('port')",
        )
        .fetch_one(&mut *session)
        .await?;
        // A role cannot see the type of other roles' sessions.
        let limits = sqlx::query_as(
            "with others as (
                 select usename, datname from pg_catalog.pg_stat_activity
                 where coalesce(backend_type, 'client backend'::text) = 'client backend'::text
                       and usename is not null and datname is not null
                       and application_name <> pg_catalog.current_setting('application_name')
             )
             select limits.of, limits.maximum::bigint as limit, limits.taken from (
                 select 'the role ' || pg_catalog.quote_ident(rolname::text),
                        case when rolconnlimit >= 0 and not rolsuper then rolconnlimit end,
                        (select pg_catalog.count(*) from others where usename = rolname)
                 from pg_catalog.pg_roles where rolname = current_user
                 union all
                 select 'the database ' || pg_catalog.quote_ident(d.datname::text),
                        case when d.datconnlimit >= 0 and not r.rolsuper then d.datconnlimit end,
                        (select pg_catalog.count(*) from others o where o.datname = d.datname)
                 from pg_catalog.pg_database d join pg_catalog.pg_roles r on r.rolname = current_user
                 where d.datname = pg_catalog.current_database()
                 union all
                 select 'the server (max_connections)', pg_catalog.current_setting('max_connections')::int
                        - pg_catalog.current_setting('superuser_reserved_connections')::int,
                        (select pg_catalog.count(*) from others)
             ) as limits (of, maximum, taken)",
        )
        .fetch_all(session)
        .await?;
        Ok(Self { server, limits })
    }
}

impl Limit {
    /// Returns the number of free sessions, if there is a limit.
    #[must_use]
    pub fn left(&self) -> Option<i64> {
        self.limit.map(|limit| (limit - self.taken).max(0))
    }
}
