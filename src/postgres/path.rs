//! The search path of a session: what a name without a schema means there, and who could change that.

use super::{Failure, Session};

/// SQL that puts the catalog first on a session's search path, whatever the role's own path says: an operator or a function that fits
/// the types exactly is then the catalog's. The rest stays, for what users write.
pub const CATALOG_FIRST: &str = "select pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', \
     case when pg_catalog.current_setting('search_path') operator(pg_catalog.<>) '' \
          then pg_catalog.current_setting('search_path') end, 'pg_temp'), false)";

/// A schema of the session's search path in which others than its owner may create objects.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SharedSchema {
    /// Its name, quoted where it has to be.
    pub schema: String,
    /// The roles that may, apart from superusers, the owner and the session's own.
    pub roles: Vec<String>,
}

impl SharedSchema {
    /// Looks for them.
    ///
    /// # Errors
    /// If the server does not answer.
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
