-- The batch sizes that an API has accepted and rejected, by project and base URL, and by endpoint. Runs begin with what is not
-- older than a week. It may be emptied at any time; the next run then learns them again.
create table learned_sizes (
    -- Project and base URL, as in `runs.api`.
    api text not null,
    subject text not null check (subject in ('user', 'tenant')),
    -- The most tokens and the most bytes that were stored, not necessarily by one batch.
    accepted_tokens bigint not null,
    accepted_bytes bigint not null,
    -- Pairs: each was too large in at least one of the two.
    rejected_tokens bigint[] not null,
    rejected_bytes bigint[] not null,
    -- When the rejected sizes were learned.
    learned_at timestamptz not null default now(),
    primary key (api, subject)
);

-- An estimate is an upper bound where the real run may send larger batches.
alter table runs add column estimated_at_most boolean;
