-- The role that tokenferry reads the source with. It can read the configured columns and nothing else.
--
-- Run it with psql, as the table's owner or a superuser, in the source's database. It can be run again. Then give the role a
-- password; psql's \password keeps it out of the log and the history:
--
--   psql "$ADMIN_URL" -v role=tokenferry_source -v table=crm.oauth_tokens -v columns='id, provider, user_id, "accessToken"' \
--     -f source-grants.sql -c '\password tokenferry_source'
--
-- `table` and `columns` are SQL: names with capitals or other letters stand in double quotes. `role` is a name as it is.
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role tokenferry_source
\endif
\if :{?table}
\else
  \set table public.legacy_oauth_tokens
\endif
-- The columns of [source] and [source.columns]: the key, each mapped column, and the ones in `where` and in expressions. Other
-- columns stay inaccessible. If policies (row-level security) protect the rows, the role also needs bypassrls; with
-- `source.row_security = "allow"` instead, it sees only the rows that they allow.
\if :{?columns}
\else
  \set columns 'id, provider, user_id, tenant_id, access_token, refresh_token, expires_at, token_type, scope, external_id, granted_by, updated_at, revoked_at'
\endif

-- tokenferry reads through one connection; `doctor`, `verify` and `show` need another one if they run at the same time.
select format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit connection limit 4', :'role')
where not exists (select from pg_roles where rolname = :'role')
\gexec

-- tokenferry's own sessions are always read-only; this makes other sessions of the role read-only by default. It is no barrier:
-- anyone with the password can turn it off. The barrier is that only `select` is granted below (besides the privileges of
-- `public` in this database).
alter role :"role" set default_transaction_read_only = on;

-- Usually everybody can connect. If that was revoked, a superuser or the database's owner has to grant it.
select format('grant connect on database %I to %I', current_database(), :'role')
where not has_database_privilege(:'role', current_database(), 'connect')
\gexec

select format('grant usage on schema %s to %I', relnamespace::regnamespace, :'role')
from pg_class where oid = :'table'::regclass
\gexec

grant select (:columns) on :table to :"role";

-- After the cutover, in this database, with the role's name:
--   drop owned by tokenferry_source;
--   drop role tokenferry_source;
