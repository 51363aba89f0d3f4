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
