-- What happened to a run beside its tokens: when processes took it up, when the API or a database held it back, when it
-- ended. For reports only; nothing decides by it, and rows of runs that nobody asks about may be deleted. Few rows for each
-- process, however long it works: what is more becomes part of the last one of its kind. No token is ever in it.
create table run_events (
    run_id bigint not null,
    -- Which of the processes that worked on the run, and which event of that process. Both are known before the first attempt
    -- to write, so that one whose answer was lost is recognised.
    epoch integer not null,
    number integer not null,
    -- The words of the program; a later version may know more of them.
    kind text not null,
    at timestamptz not null,
    -- The end of something that lasts. Of several that became one row, the last one's end.
    until timestamptz,
    -- How long it lasted, all of them together.
    seconds double precision not null default 0,
    times integer not null default 1 check (times > 0),
    detail text,
    primary key (run_id, epoch, number)
);
