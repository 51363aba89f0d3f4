//! Lookups: the ledger's outcomes for the rows of a page and for their destinations.

use std::collections::HashMap;

use super::{Ledger, LedgerError, Run, columns::column, prior_tokens::Priors};
use crate::{
    domain::{
        CurrentHolder, DestinationId, LastOutcome, LedgerState, SiblingToken, SourceKey, TokenState, Version,
    },
    secret::{Fingerprint, Parts},
};

impl Ledger {
    /// Returns whether the ledger held no tokens when this process started: no run of any migration came
    /// before it.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn is_new_to(&self, run: &Run) -> Result<bool, LedgerError> {
        let first = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"select not exists (select from runs where mode = 'migrate' and id <> $1) as "first!""#,
                    run.id,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        Ok(first && !run.resumed)
    }

    /// Returns the outcomes of these rows and the tokens at these destinations, in one round trip.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn lookup<'a>(
        &self,
        keys: impl Iterator<Item = &'a SourceKey>,
        destinations: impl Iterator<Item = DestinationId>,
    ) -> Result<LedgerState, LedgerError> {
        let keys: Vec<&str> = keys.map(SourceKey::as_str).collect();
        let destinations: Vec<DestinationId> = destinations.collect();
        self.file_those_at(&destinations).await?;
        let destinations = column(&destinations, |id| &id.as_bytes()[..]);
        if keys.is_empty() && destinations.is_empty() {
            return Ok(LedgerState::default());
        }
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"-- One index lookup for each key and each destination: of a table that grows during the run,
                       -- the planner would read all tokens for each page if this were `= any`.
                       select source_key as "source_key!", state as "state!", run_id as "run_id!", fingerprint,
                              null::bytea as destination, source_version, outdated_run, outdated_version,
                              null::bytea as parts, batch_id, null::text as sibling, false as "is_here!",
                              destination as sent_to
                       from unnest($2::text[]) as asked (row_key) cross join lateral (
                              select * from token_rows where migration = $1 and source_key = asked.row_key offset 0
                       ) as settled
                       union all
                       select source_key, state, run_id, case when migration <> $1 then fingerprint end, destination,
                              source_version, null, null, parts, batch_id, nullif(migration, $1),
                              -- Of other migrations, tokens that went to the same target, if it is known.
                              migration = $1
                              or exists (select from runs where id = run_id and coalesce(nullif(api, ''), $4) = $4),
                              null
                       from unnest($3::bytea[]) as asked (place) cross join lateral (
                              select * from token_rows
                              where destination = asked.place and state = 'committed' offset 0
                       ) as holder
                       union all
                       -- Former tokens of any migration, and the last batch whose outcome is unknown.
                       select '', 'former', 0, null, asked.place, null, null, null, null, former.unresolved_batch, null, false,
                              null
                       from unnest($3::bytea[]) as asked (place) cross join lateral (
                              select max(unresolved_batch) as unresolved_batch from former_places
                              where destination = asked.place having count(*) > 0 offset 0
                       ) as former"#,
                    self.migration,
                    &keys as &[&str],
                    &destinations as &[&[u8]],
                    self.target.as_deref(),
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let (mut known, mut prior_tokens) = (LedgerState::default(), Priors::default());
        for row in rows {
            let key = SourceKey::from(row.source_key);
            if let Some(destination) = row.destination.as_deref().and_then(DestinationId::from_slice) {
                if row.state == "former" {
                    prior_tokens.former(destination, row.batch_id);
                    continue;
                }
                let parts = row.parts.as_deref().and_then(Parts::from_slice);
                prior_tokens.committed(destination, row.batch_id, parts);
                let version = Version::new(row.source_version);
                match row.sibling {
                    Some(migration) => {
                        let sibling = SiblingToken {
                            migration: migration.into(),
                            version,
                            fingerprint: row.fingerprint.as_deref().and_then(Fingerprint::from_slice),
                            batch: row.batch_id,
                            until: None,
                        };
                        let siblings = known.siblings.entry(destination);
                        if row.is_here {
                            siblings.or_default().push(sibling);
                        }
                    }
                    None => {
                        let incumbent = CurrentHolder::new(key, version, row.run_id);
                        keep_newest(&mut known.incumbents, destination, incumbent);
                    }
                }
            } else if let Some(state) = TokenState::parse(&row.state) {
                let settled = LastOutcome {
                    state,
                    run: row.run_id,
                    fingerprint: row.fingerprint.as_deref().and_then(Fingerprint::from_slice),
                    version: Version::new(row.source_version),
                    batch: row.batch_id,
                    since: None,
                    outdated: row
                        .outdated_run
                        .map(|run| (run, Version::new(row.outdated_version))),
                    destination: row.sent_to.as_deref().and_then(DestinationId::from_slice),
                };
                known.rows.insert(key, settled);
            }
        }
        known.prior_tokens = prior_tokens.into_map();
        if !known.siblings.is_empty() {
            self.add_batch_times(&mut known).await?;
        }
        Ok(known)
    }

    /// Adds the times of batches, since a batch of another migration may have been in flight at the same
    /// time.
    async fn add_batch_times(&self, known: &mut LedgerState) -> Result<(), LedgerError> {
        let siblings = known
            .siblings
            .values()
            .flatten()
            .filter_map(|sibling| sibling.batch);
        let rows = known.rows.values().filter_map(|row| row.batch);
        let batches: Vec<i64> = siblings.chain(rows).collect();
        let found = self
            .with_retry(|| {
                sqlx::query!(
                    "select id, submitted_at, finished_at from batches where id = any($1)",
                    &batches
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let times: HashMap<i64, _> = found
            .into_iter()
            .map(|batch| (batch.id, (batch.submitted_at, batch.finished_at)))
            .collect();
        let at = |batch: Option<i64>| times.get(&batch?);
        for sibling in known.siblings.values_mut().flatten() {
            sibling.until = at(sibling.batch).and_then(|(_, finished_at)| *finished_at);
        }
        for row in known.rows.values_mut() {
            row.since = at(row.batch).map(|(submitted_at, _)| *submitted_at);
        }
        Ok(())
    }
}

fn keep_newest(
    incumbents: &mut HashMap<DestinationId, CurrentHolder>,
    at: DestinationId,
    found: CurrentHolder,
) {
    match incumbents.get(&at) {
        Some(other) if other.version >= found.version => {}
        _ => {
            incumbents.insert(at, found);
        }
    }
}
