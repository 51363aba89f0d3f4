-- The roles of the ledger: a read-write and a read-only one.
--
--   role     owns the ledger's schema and nothing else. It creates and upgrades the tables, and records runs.
--   report   reads everything except the fingerprint key: enough for `status`, `failures`, `show` and dashboards.
--
-- Run it with psql, as a superuser (or a role that can create roles, and schemas in this database), in the ledger's database:
-- before the first run; after it, to grant the new tables to the reading role; and after an update of tokenferry that added tables.
-- If a first run under another role has made the tables already, they get the new owner. Then give the roles passwords (\password):
--
--   psql "$ADMIN_URL" -v ledger=tokenferry -v role=tokenferry_ledger -v report=tokenferry_report -f ledger-grants.sql
--
-- `ledger` is the schema (ledger.schema). These are the names without -v; any others will do.
\set ON_ERROR_STOP on
\if :{?ledger}
\else
  \set ledger tokenferry
\endif
\if :{?role}
\else
  \set role tokenferry_ledger
\endif
\if :{?report}
\else
  \set report tokenferry_report
\endif

select format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit', :'role')
where not exists (select from pg_roles where rolname = :'role')
\gexec
select format(statement, :'report')
from unnest(array[
    'create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit connection limit 10',
    'alter role %I set default_transaction_read_only = on']) as statement
where not exists (select from pg_roles where rolname = :'report')
\gexec

-- A role that can connect to this database can take the lock of a migration and so block every run (exit 5, which names the
-- role). By default everybody can connect. From here on, only these roles can, roles that own or were granted something in
-- this database, and superusers. If another role needs it: grant connect on database … to …
-- A separate database for the ledger is best: the roles of another program in the same one could still take the lock.
select format('grant connect on database %I to %I', current_database(), name)
from (
    select :'role' as name union select :'report'
    union
    select r.rolname
    from pg_shdepend d join pg_roles r on r.oid = d.refobjid
    where d.refclassid = 'pg_authid'::regclass and d.deptype in ('a', 'o')
        and d.dbid = (select oid from pg_database where datname = current_database())
) as connecting
\gexec
select format('revoke connect on database %I from public', current_database())
\gexec

create schema if not exists :"ledger";
alter schema :"ledger" owner to :"role";

-- What a first run under another role has made. Indexes, sequences of columns and a table's own type go with their table.
select format('alter table %s owner to %I', oid::regclass, :'role')
from pg_class
where relnamespace = quote_ident(:'ledger')::regnamespace and relkind in ('r', 'p', 'v') and relowner <> quote_ident(:'role')::regrole
\gexec
select format('alter function %s owner to %I', oid::regprocedure, :'role')
from pg_proc
where pronamespace = quote_ident(:'ledger')::regnamespace and prokind = 'f' and proowner <> quote_ident(:'role')::regrole
    -- Those of a range type belong to it.
    and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'i')
\gexec
select format('alter type %s owner to %I', oid::regtype, :'role')
from pg_type
where typnamespace = quote_ident(:'ledger')::regnamespace and typtype in ('r', 'e', 'd') and typowner <> quote_ident(:'role')::regrole
\gexec

grant usage on schema :"ledger" to :"report";

-- Not the fingerprint key: with it, guesses of tokens could be tested against the ledger.
select format('grant select on %s to %I', oid::regclass, :'report')
from pg_class
where relnamespace = quote_ident(:'ledger')::regnamespace and (relkind = 'r' or relname in ('tokens', 'batch_tokens', 'acknowledged'))
    and relname <> 'fingerprint_key'
\gexec
