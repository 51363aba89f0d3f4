//! Room for sessions: how many the server allows this role in this database.

use super::{Failure, Session};

/// What a session counts towards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// By this a server is known, however it is reached. A standby is another one than its primary.
    pub server: String,
    /// Those of the role, the database and the server.
    pub limits: Vec<Limit>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Limit {
    /// Whose limit it is, as SQL names it.
    pub of: String,
    /// The limit. `None` if there is none or it does not bind a superuser, whose sessions leave less to others all the same.
    pub limit: Option<i64>,
    /// How much of it others have taken now.
    pub taken: i64,
}

impl Room {
    /// Asks the server. Sessions of the same name as this one count as free: they are this migration's.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(session: &mut Session) -> Result<Self, Failure> {
        // To the microsecond, whatever the session's time zone is.
        let server = sqlx::query_scalar(
            "select (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text || ' '
                    || pg_catalog.current_setting('port')",
        )
        .fetch_one(&mut *session)
        .await?;
        // Of sessions of other roles a role may not see of what kind they are.
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
    /// How many are left, where there is a limit.
    #[must_use]
    pub fn left(&self) -> Option<i64> {
        self.limit.map(|limit| (limit - self.taken).max(0))
    }
}
