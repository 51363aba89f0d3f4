-- For those who let no job own tables: a third role, which keeps the books and can neither make, alter nor drop a table.
--
--   tokenferry_runtime  is what the schedule runs with.
--   tokenferry_ledger   (ledger-grants.sql) makes and updates the tables, by hand: before the first run and after each update of
--                       tokenferry, `tokenferry migrate --dry-run --limit 1` with its URL, which sends nothing.
--
-- `tokenferry rollback` is not for the schedule's role: it also deletes from `token_rows` and `former_places`, and runs as tokenferry_ledger.
--
-- Run it after each of those, where you ran ledger-grants.sql. Forgotten, the next run ends with exit 6, and `tokenferry doctor`
-- says what is missing.

do $$ begin
    if not exists (select from pg_roles where rolname = 'tokenferry_runtime') then
        create role tokenferry_runtime login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit;
    end if;
end $$;

-- ledger-grants.sql took this right from everybody else.
do $$ begin
    execute format('grant connect on database %I to tokenferry_runtime', current_database());
end $$;

grant usage on schema tokenferry to tokenferry_runtime;

do $$
declare
    name text;
begin
    for name in
        select relname from pg_class where relnamespace = 'tokenferry'::regnamespace and (relkind = 'r' or relname = 'tokens')
    loop
        execute format(
            'grant %s on tokenferry.%I to tokenferry_runtime',
            case
                -- The latter is a view.
                when name in ('_sqlx_migrations', 'tokens') then 'select'
                when name = 'fingerprint_key' then 'select, insert'
                -- What is only remembered for a while is deleted, too.
                when name in ('dry_run_rows', 'known_users', 'forgotten_tokens') then 'select, insert, update, delete'
                else 'select, insert, update'
            end,
            name
        );
    end loop;
end $$;
