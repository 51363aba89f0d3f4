-- The quotas that all processes with this ledger share: one row each, in which a request reserves its moment on the database's
-- clock. A row may be deleted while no run is active.
create table quotas (
    -- The requests that it counts.
    name text primary key,
    -- The settings of those that use it.
    requests integer not null,
    per double precision not null,
    burst integer not null,
    ceiling integer,
    -- Seconds between two requests at present, and at best: more than configured after 429s, less on the way to the ceiling.
    step double precision not null,
    best_step double precision not null,
    changed_at timestamptz not null default now(),
    -- The moment from which the next request may leave, and until which none may, since the API asked for it.
    tat timestamptz not null default 'epoch',
    held_until timestamptz not null default 'epoch',
    -- Counts holds: a moment that was reserved before one is void.
    generation bigint not null default 0,
    -- The process and migration that claimed it last.
    used_by text not null
-- Each request updates a row, which then stays on its page.
) with (fillfactor = 10);
