-- The role that tokenferry reads the source with. It may read the columns that the configuration names, and nothing else.
--
-- Run it as the table's owner or a superuser, in the source's database, with your names for table and columns. It may be run
-- again. Then give the role a password; psql's \password keeps it out of the log and the history:
--
--   psql "$ADMIN_URL" --file source-grants.sql --command '\password tokenferry_source'

do $$ begin
    if not exists (select from pg_roles where rolname = 'tokenferry_source') then
        -- tokenferry reads through one connection; `doctor`, `verify` and `show` need another if they run beside it.
        create role tokenferry_source login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit
            connection limit 4;
    end if;
end $$;

-- tokenferry's own sessions are read-only whatever the role may do; this makes others of the role begin so, too. It is a default
-- and no barrier: who has the password can switch it off. What keeps them from writing is that nothing but `select` is granted below
-- (and whatever `public` may do in this database).
alter role tokenferry_source set default_transaction_read_only = on;

-- Mostly everybody may connect. Where that was revoked, it takes a superuser or the database's owner to grant it.
do $$ begin
    if not has_database_privilege('tokenferry_source', current_database(), 'connect') then
        execute format('grant connect on database %I to tokenferry_source', current_database());
    end if;
end $$;

grant usage on schema public to tokenferry_source;

-- What [source] and [source.columns] name: the key, each column, and those in `where` and in expressions. The other columns
-- stay out of reach. If rows are guarded by policies (row-level security), the role needs
-- bypassrls as well, or `source.row_security = "allow"`, and then sees what they let it see.
grant select (
    id,
    provider,
    user_id,
    tenant_id,
    access_token,
    refresh_token,
    expires_at,
    token_type,
    scope,
    external_id,
    granted_by,
    updated_at,
    revoked_at
) on public.legacy_oauth_tokens to tokenferry_source;

-- After cut-over, in this database:
--   drop owned by tokenferry_source;
--   drop role tokenferry_source;
