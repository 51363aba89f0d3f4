-- Reading back a token whose access token has expired makes Descope refresh it, so such tokens are not read unless asked for.
alter table verifications
    add column include_expired boolean not null default false,
    add column not_read bigint not null default 0;
