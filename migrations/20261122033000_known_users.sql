-- Whose a login ID is, so that each is asked about once. The login ID itself is personal data and is not kept: only a keyed
-- digest of it, within its project, by which it is recognised. May be emptied at any time; the users are then asked for
-- again.
create table known_users (
    login_digest bytea primary key check (octet_length(login_digest) = 32),
    user_id text not null,
    resolved_at timestamptz not null default now()
);

-- Those that the API refuses tokens of are forgotten by their ID.
create index known_users_by_id on known_users (user_id);

-- Requests that asked who and what exists; those that carry tokens or settle batches are in `requests`.
alter table runs add column lookups bigint not null default 0;
