-- Migrations of whose tokens this ledger may have forgotten some: it was restored to an earlier state while it was used, or it holds
-- tokens of a version that did not look at scopes ("scoped"). Until a run over all rows of the migration has completed, what is
-- read back at a destination proves nothing, as it may have been there before.
create table forgotten_tokens (
    migration text collate "C" primary key,
    extent text not null check (extent in ('scoped', 'anything')),
    since timestamptz not null default now()
);

insert into forgotten_tokens (migration, extent)
select distinct migration, 'scoped' from runs where mode = 'migrate';
