-- For sites where no job may own tables: a third role, which records runs but cannot create, alter or drop tables. It is the role
-- for scheduled runs. The owner (`role` of ledger-grants.sql) creates and upgrades the tables: before the first run and after each
-- update of tokenferry, run `tokenferry migrate --dry-run --limit 1` with the owner's URL, which sends nothing.
--
-- Run `tokenferry rollback` as the owner: it also deletes from `token_rows` and `former_places`.
--
-- Run this file with psql after each of those steps, in the database of ledger-grants.sql. Otherwise the next run exits with 6, and
-- `tokenferry doctor` lists the missing privileges.
--
--   psql "$ADMIN_URL" -v ledger=tokenferry -v role=tokenferry_runtime -f ledger-split-grants.sql
--
-- `ledger` is the schema (ledger.schema). These are the names without -v; any others will do.
\set ON_ERROR_STOP on
\if :{?ledger}
\else
  \set ledger tokenferry
\endif
\if :{?role}
\else
  \set role tokenferry_runtime
\endif

select format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit', :'role')
where not exists (select from pg_roles where rolname = :'role')
\gexec

-- ledger-grants.sql revoked this privilege from everybody else.
select format('grant connect on database %I to %I', current_database(), :'role')
\gexec

grant usage on schema :"ledger" to :"role";

select format(
    'grant %s on %s to %I',
    case
        -- The latter are views.
        when relname in ('_sqlx_migrations', 'tokens', 'batch_tokens', 'acknowledged') then 'select'
        when relname = 'fingerprint_key' then 'select, insert'
        -- Temporary data is deleted as well.
        when relname in ('dry_run_rows', 'known_users', 'forgotten_tokens', 'clean_ranges', 'acknowledgements', 'run_failures') then 'select, insert, update, delete'
        else 'select, insert, update'
    end,
    oid::regclass,
    :'role'
)
from pg_class
where relnamespace = quote_ident(:'ledger')::regnamespace and (relkind = 'r' or relname in ('tokens', 'batch_tokens', 'acknowledged'))
\gexec
