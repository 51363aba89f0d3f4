-- What a rollback was deleting when it was ended is looked for before anything relies on what is committed.
create index rollbacks_deleting on rollbacks (run_id) where state = 'deleting';
