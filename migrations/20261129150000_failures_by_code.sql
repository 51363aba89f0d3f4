-- How many tokens failed with which code, recorded when a run ends: a later run works on the same rows, and reports compare the two.
-- Null for runs that have not ended, or ended before this was recorded.
alter table runs add column failures_by_code jsonb;
