-- Where a token was that is about to be deleted, and when its access token expires: whoever finds out later whether it is gone
-- need not have its row in the source, which may have changed by then.
alter table rollbacks add column probe jsonb, add column expiry integer;
