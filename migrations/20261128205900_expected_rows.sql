-- How many rows the source's planner expected when a process last took the run up: reports of a run that has not come to its end
-- say how much nobody has looked at.
alter table runs add column expected_rows bigint;
