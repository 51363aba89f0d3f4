-- What a run of mode 'verify' reads back, and what it found up to its cursor. Its differences are findings: errors where
-- Descope holds something else than was sent, warnings where that could not be told.
create table verifications (
    run_id bigint primary key references runs (id),
    -- Only tokens that this run committed.
    of_run bigint,
    -- So many of them, drawn evenly over the keys.
    sample bigint check (sample > 0),
    seed bigint,
    -- A token is in the sample if the hash of seed and key is not above this; absent if there are fewer tokens than asked for.
    sample_limit bytea,
    equal bigint not null default 0,
    refreshed bigint not null default 0,
    different bigint not null default 0,
    missing bigint not null default 0,
    changed_in_source bigint not null default 0,
    gone_from_source bigint not null default 0,
    inconclusive bigint not null default 0,
    -- Rows of the source that were not uploaded; known only where all of it was asked for, and at the end.
    not_uploaded bigint,
    check ((sample is null) = (seed is null))
);
