-- What became of a batch is asked of a witness: one of its tokens that shows a value which cannot have been at its destination
-- before. So the ledger keeps short keyed digests of the parts of each token (access token, refresh token, what goes up beside
-- them), and for each batch in flight several witnesses, of which some may have expired by the time somebody asks.
alter table batches
    add column parts bytea[],
    add column witnesses jsonb;
alter table batches alter column parts set storage external;
alter table token_rows add column parts bytea;

-- The last batch for this destination of which nobody could tell whether it was stored. Whatever was committed there before it
-- need not be there any more.
alter table former_places add column unresolved_batch bigint;

-- Batches in flight keep their one token to ask for, if nothing was at its destination before.
update batches set witnesses = coalesce((
    select jsonb_build_array(jsonb_build_object(
        'probe', jsonb_build_object(
            'subject', subject, 'app_id', app_ids[probe_position], 'user_id', user_ids[probe_position],
            'tenant_id', tenant_ids[probe_position], 'external_identifier', probe_external_identifier,
            'with_refresh_token', coalesce(probe_by_refresh_token, false)),
        'access', case when not coalesce(probe_by_refresh_token, false) then encode(probe_digest, 'base64') end,
        'refresh', case when probe_by_refresh_token then encode(probe_digest, 'base64') end,
        'attributes', jsonb_build_object(),
        'evidence', jsonb_build_object(
            'access', not coalesce(probe_by_refresh_token, false), 'refresh', coalesce(probe_by_refresh_token, false),
            'was_empty', true)))
    where not exists (select from tokens where tokens.destination = destinations[probe_position] and tokens.state = 'committed')
      and not exists (select from former_places where destination = destinations[probe_position])
), '[]')
where state = 'in_flight';

alter table batches
    drop column probe_position,
    drop column probe_external_identifier,
    drop column probe_by_refresh_token,
    drop column probe_digest;
