-- The role that tokenferry reads the source with. It can read the configured columns and nothing else.
--
-- Run it as the table's owner or a superuser, in the source's database, with your table and column names. It can be run
-- again. Then give the role a password; psql's \password keeps it out of the log and the history:
--
--   psql "$ADMIN_URL" --file source-grants.sql --command '\password tokenferry_source'

do $$ begin
    if not exists (select from pg_roles where rolname = 'tokenferry_source') then
        -- tokenferry reads through one connection; `doctor`, `verify` and `show` need another one if they run at the same time.
        create role tokenferry_source login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit
            connection limit 4;
    end if;
end $$;

-- tokenferry's own sessions are always read-only; this makes other sessions of the role read-only by default. It is no barrier:
-- anyone with the password can turn it off. The barrier is that only `select` is granted below (besides the privileges of
-- `public` in this database).
alter role tokenferry_source set default_transaction_read_only = on;

-- Usually everybody can connect. If that was revoked, a superuser or the database's owner has to grant it.
do $$ begin
    if not has_database_privilege('tokenferry_source', current_database(), 'connect') then
        execute format('grant connect on database %I to tokenferry_source', current_database());
    end if;
end $$;

grant usage on schema public to tokenferry_source;

-- The columns of [source] and [source.columns]: the key, each mapped column, and the ones in `where` and in expressions. Other
-- columns stay inaccessible. If policies (row-level security) protect the rows, the role also needs bypassrls; with
-- `source.row_security = "allow"` instead, it sees only the rows that they allow.
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

-- After the cutover, in this database:
--   drop owned by tokenferry_source;
--   drop role tokenferry_source;
