-- Failures that somebody knows about and accepts: these rows, as they are, with this code. The digest is keyed, and of the row's
-- content; a row that changes has another version or another digest, and its failure is a new one.
create table acknowledgements (
    migration text collate "C" not null,
    source_key text collate "C" not null,
    refused_by text not null,
    error_code text not null,
    source_version bigint,
    row_digest bytea,
    reason text not null,
    acknowledged_at timestamptz not null default now(),
    primary key (source_key, migration),
    -- Otherwise nobody could tell that the row changed.
    check (source_version is not null or row_digest is not null)
);

-- Of rows that failed before they were sent. Those that were sent have a fingerprint.
alter table token_rows add column row_digest bytea;

-- The failed rows whose failure is the acknowledged one.
create view acknowledged as
select failed.migration, failed.source_key, failed.run_id, failed.error_code, known.reason, known.acknowledged_at
from token_rows as failed join acknowledgements as known using (migration, source_key)
where failed.state = 'failed' and known.refused_by = failed.refused_by and known.error_code = failed.error_code
  and known.source_version is not distinct from failed.source_version
  -- Rows that failed under an earlier version have no digest.
  and (known.row_digest is null or known.row_digest = coalesce(failed.row_digest, failed.fingerprint));

-- What failed in a run, for comparing it with another one: `token_rows` has only the last outcome of a row. May be emptied at any
-- time.
create table run_failures (
    run_id bigint not null,
    source_key text collate "C" not null,
    refused_by text not null,
    error_code text not null,
    reason text,
    app_id text,
    user_id text,
    tenant_id text,
    primary key (run_id, source_key)
);

-- Since when the holder works on it: a resumed run started earlier.
alter table runs add column held_since timestamptz not null default now();
update runs set held_since = started_at where status = 'running';

-- They show nothing that the rows do not.
do $$
declare
    reader text;
begin
    for reader in
        select case grantee when 'PUBLIC' then 'public' else quote_ident(grantee) end
        from information_schema.role_table_grants
        where table_schema = current_schema and table_name = 'token_rows' and privilege_type = 'SELECT'
    loop
        execute format('grant select on acknowledged, run_failures to %s', reader);
    end loop;
end $$;
