-- Why a row is left out in favour of another token, and of which: the key of a row, or the name of a migration. Together with
-- `outdated_run`, it stands beside what is stored of the row, which stays committed until the other token has arrived.
alter table token_rows
    add column superseded_code text,
    add column superseded_by text;

-- So far there was one reason.
update token_rows set superseded_code = 'newer_row' where state = 'superseded';

create or replace view tokens as
select migration, source_key, state, refused_by, error_code, reason, app_id, user_id, tenant_id, destination, source_version,
       fingerprint, batch_id, run_id, outdated_run, outdated_version, attempts, first_seen_at, updated_at, superseded_code,
       superseded_by
from token_rows
union all
select runs.migration, sent.source_key, 'committed', null, null, null, sent.app_id, sent.user_id, sent.tenant_id,
       sent.destination, sent.source_version, sent.fingerprint, batches.id, batches.run_id, null, null, 1, batches.finished_at,
       batches.finished_at, null, null
from batches join runs on runs.id = batches.run_id
     cross join lateral unnest(source_keys, fingerprints, destinations, source_versions, app_ids, user_ids, tenant_ids)
                as sent (source_key, fingerprint, destination, source_version, app_id, user_id, tenant_id)
where batches.state = 'committed' and batches.source_keys is not null;

-- A dry run says of each such row what a real one would.
alter table findings drop constraint findings_severity_check;
alter table findings add constraint findings_severity_check check (severity in ('error', 'warning', 'superseded'));
alter table findings
    add column superseded_by text,
    drop constraint findings_pkey,
    add primary key (run_id, source_key, error_code, severity);
