//! How many sessions the server lets this role have in this database.

use super::{Failure, Session};

/// The tightest of the limits that apply.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Room {
    /// Whose limit it is, as SQL names it.
    pub of: String,
    /// The limit.
    pub limit: i64,
    /// How much of it others have taken now.
    pub taken: i64,
}

impl Room {
    /// Asks the server. Sessions of the same name as this one count as free: they are this migration's.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(session: &mut Session) -> Result<Self, Failure> {
        let room = sqlx::query_as(
            "with others as (
                 select usename, datname from pg_catalog.pg_stat_activity
                 where backend_type = 'client backend'::text
                       and application_name <> pg_catalog.current_setting('application_name')
             )
             select limits.of, limits.maximum::bigint as limit, limits.taken from (
                 select 'the role ' || pg_catalog.quote_ident(rolname::text), rolconnlimit,
                        (select pg_catalog.count(*) from others where usename = rolname)
                 from pg_catalog.pg_roles where rolname = current_user and not rolsuper and rolconnlimit >= 0
                 union all
                 select 'the database ' || pg_catalog.quote_ident(d.datname::text), d.datconnlimit,
                        (select pg_catalog.count(*) from others o where o.datname = d.datname)
                 from pg_catalog.pg_database d join pg_catalog.pg_roles r on r.rolname = current_user
                 where d.datname = pg_catalog.current_database() and not r.rolsuper and d.datconnlimit >= 0
                 union all
                 select 'the server (max_connections)', pg_catalog.current_setting('max_connections')::int
                        - pg_catalog.current_setting('superuser_reserved_connections')::int,
                        (select pg_catalog.count(*) from others)
             ) as limits (of, maximum, taken)
             order by limits.maximum - limits.taken limit 1",
        )
        .fetch_one(session)
        .await?;
        Ok(room)
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> i64 {
        (self.limit - self.taken).max(0)
    }
}
