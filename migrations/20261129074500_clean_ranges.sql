-- Key ranges of the source of which every row was stored, by the last run over all rows that completed. The next run compares
-- their digests with the source, and reads only the ranges that differ. A run that may send or delete tokens takes all of them
-- out first, so that none is believed after it was interrupted.
create table clean_ranges (
    migration text collate "C" not null,
    position integer not null,
    run_id bigint not null references runs (id),
    -- The key before the range; null before the first row.
    after_key text,
    until_key text not null,
    -- Keyed like the fingerprints: of the rows, and of the configuration and the version that read them.
    digest bytea not null,
    primary key (migration, position)
);
