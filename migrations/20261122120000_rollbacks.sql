-- Runs of mode 'rollback' delete at Descope what a run of mode 'migrate' put there.
alter table runs drop constraint runs_mode_check;
alter table runs
    add check (mode in ('migrate', 'dry_run', 'verify', 'rollback')),
    -- Of a run of mode 'migrate': the project and the address that its tokens went to. Empty if there was more than one, or
    -- if a part of them was sent before this was recorded.
    add column api text,
    -- Of a run of mode 'rollback': the run whose tokens it deletes, and whether it only says which it would.
    add column rolls_back bigint,
    add column rehearsal boolean not null default false,
    add check ((mode = 'rollback') = (rolls_back is not null)),
    add check (mode = 'rollback' or not rehearsal);

-- What a rollback did about each token. That a token is to be deleted is recorded before the request leaves, what became of it
-- after the answer. The ID is by which Descope deletes it, and no secret.
create table rollbacks (
    run_id bigint not null references runs (id),
    source_key text collate "C" not null,
    -- The run that sent it.
    of_run bigint not null,
    app_id text,
    user_id text,
    tenant_id text,
    token_id text,
    -- deleting: recognised, and about to be deleted or deleted, which it is one finds out by looking. removed: deleted. gone: it
    -- was not there. refused: left alone, for the reason given. deletable: a rehearsal's word for what it would delete.
    state text not null check (state in ('deleting', 'removed', 'gone', 'refused', 'deletable')),
    error_code text,
    reason text,
    begun_at timestamptz not null default now(),
    ended_at timestamptz,
    primary key (run_id, source_key),
    check ((state = 'deleting') = (ended_at is null)),
    check (state <> 'deleting' or token_id is not null),
    check ((state = 'refused') = (error_code is not null and reason is not null))
);

-- Places that a run put a token at, and that the token's own row tells no more of: the row was sent again by a later run or went
-- elsewhere, another row took its place, or it has failed since. No rollback may take such a place for one that was empty.
create table former_places (
    destination bytea not null,
    migration text collate "C" not null,
    run_id bigint not null,
    source_key text collate "C" not null,
    primary key (destination, migration, run_id)
);

create index former_places_by_run on former_places (run_id, migration);

-- A trigger, so that no statement can forget it; and one that fires for such rows only, of which a first run has none.
create function remember_place() returns trigger language plpgsql set search_path from current as $$
begin
    insert into former_places (destination, migration, run_id, source_key)
    values (old.destination, old.migration, old.run_id, old.source_key)
    on conflict do nothing;
    return null;
end
$$;

create trigger remember_place after update on tokens for each row
    when (old.state = 'committed' and old.destination is not null
        and (new.state <> 'committed' or new.run_id <> old.run_id or new.destination is distinct from old.destination))
    execute function remember_place();

-- Tokens of which all was compared but the token itself: it was fetched, and the source does not hold it.
alter table verifications add column in_part bigint not null default 0;
