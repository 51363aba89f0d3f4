//! Row-level security: which policies hide rows from the role.

use super::SourceError;
use crate::postgres::{Failure, FailureKind, Session};

/// The error, with the policies that it is about if it is about any. The database names the table in its
/// message alone, without its schema.
pub(super) async fn named(connection: &mut Session, error: SourceError) -> SourceError {
    let SourceError::Database(failure) = error else {
        return error;
    };
    if failure.kind != FailureKind::RowSecurity {
        return failure.into();
    }
    // Without their names the error says enough.
    let policies = policies(connection, &failure).await.unwrap_or_default();
    let policies = if policies.is_empty() {
        String::new()
    } else {
        format!(" ({})", policies.join("; "))
    };
    SourceError::RowSecurity {
        policies,
        source: failure,
    }
}

async fn policies(connection: &mut Session, failure: &Failure) -> Result<Vec<String>, Failure> {
    let said = failure.to_string();
    let found = sqlx::query_scalar(
        "select pg_catalog.format('%I.%I: %s', n.nspname, c.relname,
                    coalesce('policy ' || pg_catalog.string_agg(pg_catalog.quote_ident(p.polname), ', ' order by p.polname),
                             'no policy lets anybody read'))
         from pg_catalog.pg_class c
              join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              left join pg_catalog.pg_policy p on p.polrelid = c.oid and p.polcmd in ('r', '*')
         where c.relrowsecurity and pg_catalog.strpos($1, '\"' || c.relname || '\"') > 0
         group by n.nspname, c.relname order by n.nspname, c.relname",
    )
    .bind(said)
    .fetch_all(&mut *connection)
    .await?;
    Ok(found)
}
