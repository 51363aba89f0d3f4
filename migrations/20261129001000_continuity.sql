-- Grows with each time that a process writes the books of the run, from a number that it draws when it begins the run or takes it
-- up. In a ledger that was restored under a run, or whose lagging replica took over, it is another one than the process knows.
alter table runs add column writes bigint not null default 0;
