-- For sites where no job may own tables: a third role, which records runs but cannot create, alter or drop tables.
--
--   tokenferry_runtime  is the role for scheduled runs.
--   tokenferry_ledger   (ledger-grants.sql) creates and upgrades the tables. Before the first run and after each update of tokenferry,
--                       run `tokenferry migrate --dry-run --limit 1` with its URL, which sends nothing.
--
-- Run `tokenferry rollback` as tokenferry_ledger: it also deletes from `token_rows` and `former_places`.
--
-- Run this file after each of those steps, in the database of ledger-grants.sql. Otherwise the next run exits with 6, and
-- `tokenferry doctor` lists the missing privileges.

do $$ begin
    if not exists (select from pg_roles where rolname = 'tokenferry_runtime') then
        create role tokenferry_runtime login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit;
    end if;
end $$;

-- ledger-grants.sql revoked this privilege from everybody else.
do $$ begin
    execute format('grant connect on database %I to tokenferry_runtime', current_database());
end $$;

grant usage on schema tokenferry to tokenferry_runtime;

do $$
declare
    name text;
begin
    for name in
        select relname from pg_class where relnamespace = 'tokenferry'::regnamespace and (relkind = 'r' or relname in ('tokens', 'batch_tokens', 'acknowledged'))
    loop
        execute format(
            'grant %s on tokenferry.%I to tokenferry_runtime',
            case
                -- The latter are views.
                when name in ('_sqlx_migrations', 'tokens', 'batch_tokens', 'acknowledged') then 'select'
                when name = 'fingerprint_key' then 'select, insert'
                -- Temporary data is deleted as well.
                when name in ('dry_run_rows', 'known_users', 'forgotten_tokens', 'clean_ranges', 'acknowledgements', 'run_failures') then 'select, insert, update, delete'
                else 'select, insert, update'
            end,
            name
        );
    end loop;
end $$;
