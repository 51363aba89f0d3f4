//! The search path of a session, and the roles that can create objects in it.

use super::{Failure, Session};

/// SQL that puts the catalog first on the search path, whatever the role's own path is, so that operators and
/// functions with exactly matching types come from the catalog. The rest of the path stays, for user-written
/// SQL.
pub const CATALOG_FIRST: &str = "select pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', \
     case when pg_catalog.current_setting('search_path') operator(pg_catalog.<>) '' \
          then pg_catalog.current_setting('search_path') end, 'pg_temp'), false)";

/// A schema of the search path in which others besides its owner can create objects.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SharedSchema {
    /// Its name, quoted if necessary.
    pub schema: String,
    /// The roles that can, except superusers, the owner and the session's own role.
    pub roles: Vec<String>,
}

impl SharedSchema {
    /// Finds the shared schemas.
    ///
    /// # Errors
    /// Fails if the server does not respond.
    pub async fn find(session: &mut Session) -> Result<Vec<Self>, Failure> {
        let found = sqlx::query_as(
            "select pg_catalog.quote_ident(n.nspname::text) as schema,
                    array(select distinct case when a.grantee = 0::oid then 'public' else pg_catalog.quote_ident(r.rolname::text) end
                          from pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
                          left join pg_catalog.pg_roles r on r.oid = a.grantee
                          where a.privilege_type = 'CREATE'::text and a.grantee <> n.nspowner
                                and coalesce(r.rolname <> current_user and not r.rolsuper, true)
                          order by 1) as roles
             from pg_catalog.pg_namespace n
             where n.nspname = any (pg_catalog.current_schemas(false)) and n.nspname <> 'pg_catalog'::name
             order by 1",
        )
        .fetch_all(session)
        .await?;
        Ok(found
            .into_iter()
            .filter(|shared: &Self| !shared.roles.is_empty())
            .collect())
    }
}
