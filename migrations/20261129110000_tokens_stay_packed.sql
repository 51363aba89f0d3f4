-- The tokens of a batch that was stored stay in the batch's row, packed: a row and two index entries for each token cost more
-- than all else that a run writes, and more with every million of tokens. A token gets a row of its own in `token_rows` only when
-- something about it changes. Then its position is in `moved`: a token is in one of the two places, never in both.

-- What the version before left packed was on its way to rows, and goes there. If a key was packed twice, the later outcome counts.
insert into token_rows (migration, source_key, state, app_id, user_id, tenant_id, destination, source_version, fingerprint, parts,
       batch_id, run_id, first_seen_at, updated_at)
select distinct on (runs.migration, sent.source_key) runs.migration, sent.source_key, 'committed', sent.app_id, sent.user_id,
       sent.tenant_id, sent.destination, sent.source_version, sent.fingerprint, sent.parts, batches.id, batches.run_id,
       batches.finished_at, batches.finished_at
from batches join runs on runs.id = batches.run_id
     cross join lateral unnest(source_keys, fingerprints, destinations, source_versions, app_ids, user_ids, tenant_ids, parts)
                as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id, parts)
where batches.state = 'committed' and batches.source_keys is not null
order by runs.migration, sent.source_key, batches.finished_at desc, batches.id desc
on conflict (source_key, migration) do update set
       state = 'committed', refused_by = null, error_code = null, reason = null, superseded_code = null, superseded_by = null,
       app_id = excluded.app_id, user_id = excluded.user_id, tenant_id = excluded.tenant_id, destination = excluded.destination,
       source_version = excluded.source_version, fingerprint = excluded.fingerprint, parts = excluded.parts,
       batch_id = excluded.batch_id, run_id = excluded.run_id, attempts = token_rows.attempts + 1,
       updated_at = excluded.updated_at
where token_rows.updated_at <= excluded.updated_at;

update batches set source_keys = null, fingerprints = null, destinations = null, source_versions = null, app_ids = null,
       user_ids = null, tenant_ids = null, parts = null
where state = 'committed' and source_keys is not null;

drop index batches_packed;

alter table batches rename column fingerprints to former_fingerprints;
alter table batches rename column destinations to former_destinations;
alter table batches rename column parts to former_parts;

-- The least and the greatest order key of a batch's tokens: src/ledger/order_key.rs.
create type key_range as range (subtype = text, collation = "C");

alter table batches
    -- 32, 16 and 24 bytes for each token, in the order of the keys.
    add column fingerprints bytea,
    add column destinations bytea,
    add column parts bytea,
    -- Positions, from 1, of tokens that have moved to `token_rows`.
    add column moved integer[],
    -- Of packed tokens only.
    add column key_range key_range;

-- Hashes and short texts: compressing them costs more than it saves.
alter table batches
    alter column fingerprints set storage external,
    alter column destinations set storage external,
    alter column parts set storage external,
    alter column source_versions set storage external;

-- No plan depends on what they contain, and gathering that would take longer than a run that uploads it.
alter table batches
    alter column source_keys set statistics 0,
    alter column fingerprints set statistics 0,
    alter column destinations set statistics 0,
    alter column source_versions set statistics 0,
    alter column app_ids set statistics 0,
    alter column user_ids set statistics 0,
    alter column tenant_ids set statistics 0,
    alter column parts set statistics 0,
    alter column replaces set statistics 0,
    alter column moved set statistics 0;

-- Batches in flight. One from a version that knew no parts has none.
update batches set
    fingerprints = (select string_agg(sent, '' order by position) from unnest(former_fingerprints) with ordinality as s (sent, position)),
    destinations = (select string_agg(sent, '' order by position) from unnest(former_destinations) with ordinality as s (sent, position)),
    parts = (select string_agg(sent, '' order by position) from unnest(former_parts) with ordinality as s (sent, position))
where source_keys is not null;

alter table batches add constraint batches_packed_with_their_range
    check ((key_range is not null) = (state = 'committed' and source_keys is not null));

create index batches_packed on batches using gist (key_range) where key_range is not null;

-- The tokens that batches hold, in flight or packed.
create view batch_tokens as
select batches.id as batch_id, batches.state as batch_state, batches.run_id, batches.finished_at, runs.migration,
       sent.position::integer as position, sent.source_key, sent.source_version,
       -- One app for all of them is stored once.
       coalesce(sent.app_id, batches.app_ids[1]) as app_id, sent.user_id, sent.tenant_id,
       substring(whole.fingerprints from (sent.position::integer - 1) * 32 + 1 for 32) as fingerprint,
       substring(whole.destinations from (sent.position::integer - 1) * 16 + 1 for 16) as destination,
       substring(whole.parts from (sent.position::integer - 1) * 24 + 1 for 24) as parts
from batches join runs on runs.id = batches.run_id
     -- Fetched once for a batch, not once for each of its tokens.
     cross join lateral (
         select batches.fingerprints || ''::bytea as fingerprints, batches.destinations || ''::bytea as destinations,
                batches.parts || ''::bytea as parts
         offset 0
     ) as whole
     cross join lateral unnest(source_keys, source_versions, app_ids, user_ids, tenant_ids)
                with ordinality as sent (source_key, source_version, app_id, user_id, tenant_id, position)
where batches.source_keys is not null and (batches.moved is null or sent.position <> all (batches.moved));

create or replace view tokens as
select migration, source_key, state, refused_by, error_code, reason, app_id, user_id, tenant_id, destination, source_version,
       fingerprint, batch_id, run_id, outdated_run, outdated_version, attempts, first_seen_at, updated_at, superseded_code,
       superseded_by
from token_rows
union all
select migration, source_key, 'committed', null, null, null, app_id, user_id, tenant_id, destination, source_version,
       fingerprint, batch_id, run_id, null, null, 1, finished_at, finished_at, null, null
from batch_tokens where batch_state = 'committed';

alter table batches
    drop column former_fingerprints,
    drop column former_destinations,
    drop column former_parts;

-- It shows nothing that the batches do not.
do $$
declare
    reader text;
begin
    for reader in
        select case grantee when 'PUBLIC' then 'public' else quote_ident(grantee) end
        from information_schema.role_table_grants
        where table_schema = current_schema and table_name = 'batches' and privilege_type = 'SELECT'
    loop
        execute format('grant select on batch_tokens to %s', reader);
    end loop;
end $$;
