-- Failed tokens are tried again in the order in which they failed, so that a run over a part of them begins with those that were
-- not tried for the longest time.
create index tokens_failed_in_turn on token_rows (migration, run_id, source_key) where state = 'failed';
drop index tokens_failed;
