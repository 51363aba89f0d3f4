-- A keyed digest of what decides which rows a run is about, and what is made of them: only a run about the same is gone on with.
alter table runs add column selection_digest bytea;
