-- Problems that stand in no token's way: those that a dry run found, and warnings about tokens that go up. No token, in any
-- form that gives it back, is ever stored here. What is older than anybody's interest may be deleted at any time.
create table findings (
    run_id bigint not null,
    source_key text collate "C" not null,
    -- An error keeps the token from going up; a warning does not.
    severity text not null check (severity in ('error', 'warning')),
    refused_by text not null check (refused_by in ('validation', 'api', 'transport')),
    error_code text not null,
    reason text not null,
    app_id text,
    user_id text,
    tenant_id text,
    found_at timestamptz not null default now(),
    primary key (run_id, source_key, error_code)
);

-- What a dry run has to remember of rows, where a real one finds it in `tokens`. Emptied when the dry run ends.
create table dry_run_rows (
    run_id bigint not null,
    source_key text collate "C" not null,
    source_version bigint,
    -- Where the row would be by now. Null for a row that the source found outdated.
    destination bytea,
    primary key (run_id, source_key)
);

create index dry_run_rows_at_destination on dry_run_rows (run_id, destination) where destination is not null;

-- What a dry run expects of the real one.
alter table runs
    add column estimated_batches bigint,
    add column estimated_requests bigint,
    add column estimated_bytes bigint,
    add column estimated_seconds double precision,
    add check (mode = 'dry_run' or estimated_batches is null);
