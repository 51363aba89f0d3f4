-- How many of a dry run's estimated requests carry one token by itself.
alter table runs
    add column estimated_single_requests bigint;
