-- The roles for the ledger: one that keeps it, and one that only looks.
--
--   tokenferry_ledger   owns the ledger's schema, and nothing else. It makes the tables, updates them and keeps the books.
--   tokenferry_report   reads all of it but the fingerprint key: enough for `status`, `failures`, `show` and dashboards.
--
-- Run it as a superuser (or a role that may make roles, and schemas in this database), in the ledger's database: before the
-- first run; again after it, for the tables that tokenferry_report could not be given yet; and after an update of tokenferry
-- that brought new tables. Then give the roles passwords: \password tokenferry_ledger

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

-- Whoever may connect to this database can take the lock that lets one run work at a time, and so keep every run from beginning
-- (exit 5, which names the role). As a database is made, everybody may. From here on only these roles may, those that own
-- something in here or were granted something, and superusers. Another role that needs this database: grant connect on database … to …
-- A database that the ledger has to itself is best: the roles of another program in here could still take the lock.
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

-- Not the fingerprint key: with it, a guess of a whole token could be tested against the ledger.
do $$
declare
    name text;
begin
    for name in
        select relname from pg_class
        where relnamespace = 'tokenferry'::regnamespace and (relkind = 'r' or relname = 'tokens')
            and relname <> 'fingerprint_key'
    loop
        execute format('grant select on tokenferry.%I to tokenferry_report', name);
    end loop;
end $$;
