-- What is known of a batch's tokens stands in the batch's own row before it is sent. Once all of it is stored, that is what there
-- is to record: the batch is marked as committed and keeps its tokens, packed. They get rows of their own a little later, many
-- batches at once, and before anybody has to find one of them by its key or its place. A token is in one of the two, never in
-- both; `tokens` shows both alike.
--
-- Writing a row and two index entries for each token while batches wait for it took half of a migration's time.
alter table tokens rename to token_rows;

alter table batches drop constraint batches_check1;
alter table batches
    add constraint batches_hold_what_is_in_flight check (state <> 'in_flight' or source_keys is not null),
    add constraint batches_hold_nothing_that_failed check (state <> 'failed' or source_keys is null);

create index batches_packed on batches (id) where state = 'committed' and source_keys is not null;

create view tokens as
select migration, source_key, state, refused_by, error_code, reason, app_id, user_id, tenant_id, destination, source_version,
       fingerprint, batch_id, run_id, outdated_run, outdated_version, attempts, first_seen_at, updated_at
from token_rows
union all
select runs.migration, sent.source_key, 'committed', null, null, null, sent.app_id, sent.user_id, sent.tenant_id,
       sent.destination, sent.source_version, sent.fingerprint, batches.id, batches.run_id, null, null, 1, batches.finished_at,
       batches.finished_at
from batches join runs on runs.id = batches.run_id
     cross join lateral unnest(source_keys, fingerprints, destinations, source_versions, app_ids, user_ids, tenant_ids)
                as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id)
where batches.state = 'committed' and batches.source_keys is not null;

-- Who could read the table under this name can read what took its place.
do $$
declare
    reader text;
begin
    for reader in
        select case grantee when 'PUBLIC' then 'public' else quote_ident(grantee) end
        from information_schema.role_table_grants
        where table_schema = current_schema and table_name = 'token_rows' and privilege_type = 'SELECT'
    loop
        execute format('grant select on tokens to %s', reader);
    end loop;
end $$;
