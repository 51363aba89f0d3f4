-- Tokens that a dry run expects to be fetched from where the API keeps them, one request each.
alter table runs add column estimated_fetches bigint;
