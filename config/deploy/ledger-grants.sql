-- The roles of the ledger: a read-write and a read-only one.
--
--   tokenferry_ledger   owns the ledger's schema and nothing else. It creates and upgrades the tables, and records runs.
--   tokenferry_report   reads everything except the fingerprint key: enough for `status`, `failures`, `show` and dashboards.
--
-- Run it as a superuser (or a role that can create roles, and schemas in this database), in the ledger's database: before the
-- first run; after it, to grant tokenferry_report the new tables; and after an update of tokenferry that added tables. Then give the roles passwords: \password tokenferry_ledger

do $$ begin
    if not exists (select from pg_roles where rolname = 'tokenferry_ledger') then
        create role tokenferry_ledger login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'tokenferry_report') then
        create role tokenferry_report login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit
            connection limit 10;
        alter role tokenferry_report set default_transaction_read_only = on;
    end if;
end $$;

-- A role that can connect to this database can take the lock of a migration and so block every run (exit 5, which names the
-- role). By default everybody can connect. From here on, only these roles can, roles that own or were granted something in
-- this database, and superusers. If another role needs it: grant connect on database … to …
-- A separate database for the ledger is best: the roles of another program in the same one could still take the lock.
do $$
declare
    role name;
begin
    execute format('grant connect on database %I to tokenferry_ledger, tokenferry_report', current_database());
    for role in
        select distinct r.rolname
        from pg_shdepend d join pg_roles r on r.oid = d.refobjid
        where d.refclassid = 'pg_authid'::regclass and d.deptype in ('a', 'o')
            and d.dbid = (select oid from pg_database where datname = current_database())
    loop
        execute format('grant connect on database %I to %I', current_database(), role);
    end loop;
    execute format('revoke connect on database %I from public', current_database());
end $$;

create schema if not exists tokenferry;
alter schema tokenferry owner to tokenferry_ledger;

grant usage on schema tokenferry to tokenferry_report;

-- Not the fingerprint key: with it, guesses of tokens could be tested against the ledger.
do $$
declare
    name text;
begin
    for name in
        select relname from pg_class
        where relnamespace = 'tokenferry'::regnamespace and (relkind = 'r' or relname in ('tokens', 'batch_tokens', 'acknowledged'))
            and relname <> 'fingerprint_key'
    loop
        execute format('grant select on tokenferry.%I to tokenferry_report', name);
    end loop;
end $$;
