-- The ledger: which batches were sent, and what became of every token. No token, in any form that gives it back, is
-- ever stored here. Tables are found through the search_path, since the schema's name is configured.

-- Made once per ledger. Fingerprints are keyed, so that nobody can test a guess against the tables that reports read.
create table fingerprint_key (
    only_row boolean primary key default true check (only_row),
    key_bytes bytea not null check (octet_length(key_bytes) = 32),
    -- Tells a changed pepper apart from changed tokens.
    key_check bytea not null check (octet_length(key_check) = 32),
    created_at timestamptz not null default now()
);

create table runs (
    id bigint generated always as identity primary key,
    migration text not null,
    mode text not null check (mode in ('migrate', 'dry_run', 'verify')),
    -- A run over failed tokens only is not gone on with: the next one finds what is left.
    selection text not null default 'all' check (selection in ('all', 'failed')),
    status text not null default 'running'
        check (status in ('running', 'completed', 'completed_with_failures', 'interrupted', 'stopped')),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    -- Moves with the cursor; a run that is 'running' without moving belongs to a process that is gone.
    progressed_at timestamptz not null default now(),
    -- Every row up to this key has an end. How they ended is counted beside it: a process that goes on begins from these.
    cursor text,
    cursor_committed bigint not null default 0,
    cursor_failed bigint not null default 0,
    cursor_superseded bigint not null default 0,
    cursor_unchanged bigint not null default 0,
    -- The books, rows included that are settled beyond the cursor.
    tokens_selected bigint not null default 0,
    tokens_committed bigint not null default 0,
    tokens_failed bigint not null default 0,
    tokens_superseded bigint not null default 0,
    tokens_unchanged bigint not null default 0,
    requests bigint not null default 0,
    retries bigint not null default 0,
    rate_limited bigint not null default 0,
    active_seconds double precision not null default 0,
    -- Counts the processes that worked on it. A process that lost the migration's lock without noticing, and was
    -- replaced, is told apart by it, and can neither send nor record anything more.
    epoch integer not null default 1,
    resumed boolean not null default false,
    -- Host and process, for whoever finds the migration locked.
    holder text not null,
    stop_reason text,
    check ((status = 'running') = (finished_at is null)),
    check (status not in ('completed', 'completed_with_failures')
        or tokens_selected = tokens_committed + tokens_failed + tokens_superseded + tokens_unchanged)
);

create index runs_by_migration on runs (migration, mode, id desc);

create table batches (
    id bigint generated always as identity primary key,
    run_id bigint not null references runs (id),
    -- The batch that was refused before this one was taken out of it.
    parent_id bigint references batches (id),
    subject text not null check (subject in ('user', 'tenant')),
    state text not null default 'in_flight' check (state in ('in_flight', 'committed', 'failed')),
    token_count integer not null check (token_count > 0),
    attempts integer not null default 1,
    http_status integer,
    error_code text,
    reason text,
    -- When the latest attempt was about to leave.
    submitted_at timestamptz not null default now(),
    finished_at timestamptz,
    -- Made by the client: an insert whose answer was lost is recognised when it is tried again.
    nonce uuid not null unique,
    -- What the request holds, position by position; emptied once the outcome is known, as the tokens tell it then.
    source_keys text[],
    fingerprints bytea[],
    destinations bytea[],
    source_versions bigint[],
    app_ids text[],
    user_ids text[],
    tenant_ids text[],
    -- Rows committed before for the same destinations; superseded when this batch is committed.
    replaces text[],
    -- The one token that is read back if the outcome is unknown, from 1, and how it is recognised.
    probe_position integer,
    probe_external_identifier text,
    probe_by_refresh_token boolean,
    probe_digest bytea,
    check ((state = 'in_flight') = (finished_at is null)),
    check ((state = 'in_flight') = (source_keys is not null)),
    check (state <> 'failed' or error_code is not null)
);

-- Compressing what is emptied seconds later would only cost time.
alter table batches
    alter column source_keys set storage external,
    alter column fingerprints set storage external,
    alter column destinations set storage external,
    alter column app_ids set storage external,
    alter column user_ids set storage external,
    alter column tenant_ids set storage external;

create index batches_by_run on batches (run_id, state);
create index batches_in_flight on batches (id) where state = 'in_flight';

-- One row per source row that has an outcome; a source row without one is pending. References to runs and batches are
-- not declared: checking them would cost more than writing the row.
-- Names and keys compare byte by byte: the database's own collation would make every look into the indexes slower.
create table tokens (
    migration text collate "C" not null,
    source_key text collate "C" not null,
    state text not null check (state in ('committed', 'failed', 'superseded')),
    refused_by text check (refused_by in ('validation', 'api', 'transport')),
    error_code text,
    reason text,
    app_id text,
    user_id text,
    tenant_id text,
    -- App, user, tenant and external identifier in 16 bytes.
    destination bytea,
    -- The row's updated_at, as a number that orders.
    source_version bigint,
    fingerprint bytea,
    batch_id bigint,
    run_id bigint not null,
    -- The run that found the row outdated, and how new the row was then. What is at its destination stays committed until
    -- the newer row has arrived there.
    outdated_run bigint,
    outdated_version bigint,
    -- Outcomes so far, this one included.
    attempts integer not null default 1,
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (migration, source_key),
    check ((state = 'failed') = (error_code is not null and refused_by is not null)),
    check (state <> 'committed' or (fingerprint is not null and batch_id is not null))
);

create index tokens_at_destination on tokens (migration, destination) where state = 'committed';
create index tokens_failed on tokens (migration, run_id) where state = 'failed';
