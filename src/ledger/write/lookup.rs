//! Lookups: the ledger's outcomes for the rows of a page and for their destinations.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::{Ledger, LedgerError, Run, columns::column, packed::PackedToken, prior_tokens::Priors};
use crate::{
    domain::{
        CurrentHolder, DestinationId, LastOutcome, LedgerState, RunId, SiblingToken, SourceKey, TokenState,
        Version,
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

    /// Returns the outcomes of these rows and the tokens at these destinations.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn lookup<'a>(
        &self,
        keys: impl Iterator<Item = &'a SourceKey>,
        destinations: impl Iterator<Item = DestinationId>,
    ) -> Result<LedgerState, LedgerError> {
        let mut keys: Vec<&str> = keys.map(SourceKey::as_str).collect();
        let asked: HashSet<DestinationId, RandomState> = destinations.collect();
        let (mut known, mut prior_tokens) = (LedgerState::default(), Priors::default());
        // Packed tokens come first: one that becomes a row meanwhile is found once more, not missed.
        let by_key = self.packed_with_keys(&keys).await?;
        for token in &by_key {
            known.rows.insert(token.key.clone(), token.outcome());
        }
        let mut held = by_key;
        held.retain(|token| asked.contains(&token.destination));
        let places = held.iter().map(|token| token.destination).collect();
        let searches = self.token_filters.searches(&asked, &places);
        if !searches.packed.is_empty() {
            let again: HashSet<&DestinationId, RandomState> = searches.packed.iter().collect();
            held.retain(|token| !again.contains(&token.destination));
            // Rarely needed, and a large future.
            held.extend(Box::pin(self.packed_at(&searches.packed)).await?);
        }
        self.token_filters.retain_with_rows(&mut keys);
        let rows = self.rows_of(&keys, &searches.rows).await?;
        let moved: HashSet<(&str, Option<&str>)> = rows
            .iter()
            .filter(|row| row.state != FORMER)
            .map(|row| (row.source_key.as_str(), row.sibling.as_deref()))
            .collect();
        held.retain(|token| {
            let sibling = token.sibling.as_ref().map(|(migration, _)| &**migration);
            !moved.contains(&(token.key.as_str(), sibling))
        });
        for token in held {
            let (at, batch, parts) = (token.destination, Some(token.batch), token.parts);
            prior_tokens.committed(at, batch, parts);
            add_holder(&mut known, at, token.into());
        }
        for row in rows {
            let Some(destination) = row.destination.as_deref().and_then(DestinationId::from_slice) else {
                if let Some(state) = TokenState::parse(&row.state) {
                    known
                        .rows
                        .insert(SourceKey::from(row.source_key.as_str()), row.outcome(state));
                }
                continue;
            };
            if row.state == FORMER {
                prior_tokens.former(destination, row.batch_id);
                continue;
            }
            let parts = row.parts.as_deref().and_then(Parts::from_slice);
            prior_tokens.committed(destination, row.batch_id, parts);
            add_holder(&mut known, destination, row.into());
        }
        known.prior_tokens = prior_tokens.into_map();
        if !known.siblings.is_empty() {
            self.add_batch_times(&mut known).await?;
        }
        Ok(known)
    }

    /// Returns the rows of `token_rows` with these keys and at these destinations, and former places there.
    async fn rows_of(
        &self,
        keys: &[&str],
        destinations: &[DestinationId],
    ) -> Result<Vec<FoundRow>, LedgerError> {
        if keys.is_empty() && destinations.is_empty() {
            return Ok(Vec::new());
        }
        let destinations = column(destinations, |id| &id.as_bytes()[..]);
        self.with_retry(|| {
            sqlx::query_as!(
                FoundRow,
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
                keys as &[&str],
                &destinations as &[&[u8]],
                self.target.as_deref(),
            )
            .fetch_all(&self.pool)
        })
        .await
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

/// The state of a former place, in the rows that `rows_of` finds.
const FORMER: &str = "former";

/// A row with one of the keys, or, with `destination`, at one of the destinations.
struct FoundRow {
    source_key: String,
    state: String,
    run_id: RunId,
    fingerprint: Option<Vec<u8>>,
    destination: Option<Vec<u8>>,
    source_version: Option<i64>,
    outdated_run: Option<RunId>,
    outdated_version: Option<i64>,
    parts: Option<Vec<u8>>,
    batch_id: Option<i64>,
    sibling: Option<String>,
    is_here: bool,
    sent_to: Option<Vec<u8>>,
}

impl FoundRow {
    fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint.as_deref().and_then(Fingerprint::from_slice)
    }

    fn outcome(&self, state: TokenState) -> LastOutcome {
        LastOutcome {
            state,
            run: self.run_id,
            fingerprint: self.fingerprint(),
            version: Version::new(self.source_version),
            batch: self.batch_id,
            since: None,
            outdated: self
                .outdated_run
                .map(|run| (run, Version::new(self.outdated_version))),
            destination: self.sent_to.as_deref().and_then(DestinationId::from_slice),
        }
    }
}

impl PackedToken {
    fn outcome(&self) -> LastOutcome {
        LastOutcome {
            state: TokenState::Committed,
            run: self.run,
            fingerprint: Some(self.fingerprint),
            version: self.version,
            batch: Some(self.batch),
            since: None,
            outdated: None,
            destination: Some(self.destination),
        }
    }
}

/// A token that stands at a destination.
enum Holder {
    Own(CurrentHolder),
    /// Whether it went to this run's target.
    OfSibling(SiblingToken, bool),
}

impl From<PackedToken> for Holder {
    fn from(token: PackedToken) -> Self {
        match token.sibling {
            None => Self::Own(CurrentHolder::new(token.key, token.version, token.run)),
            Some((migration, is_here)) => {
                let sibling = SiblingToken {
                    migration,
                    version: token.version,
                    fingerprint: Some(token.fingerprint),
                    batch: Some(token.batch),
                    until: None,
                };
                Self::OfSibling(sibling, is_here)
            }
        }
    }
}

impl From<FoundRow> for Holder {
    fn from(row: FoundRow) -> Self {
        let (version, fingerprint) = (Version::new(row.source_version), row.fingerprint());
        match row.sibling {
            None => {
                let key = SourceKey::from(row.source_key);
                Self::Own(CurrentHolder::new(key, version, row.run_id))
            }
            Some(migration) => {
                let sibling = SiblingToken {
                    migration: migration.into(),
                    version,
                    fingerprint,
                    batch: row.batch_id,
                    until: None,
                };
                Self::OfSibling(sibling, row.is_here)
            }
        }
    }
}

fn add_holder(known: &mut LedgerState, at: DestinationId, holder: Holder) {
    match holder {
        Holder::Own(found) => match known.incumbents.get(&at) {
            Some(other) if other.version >= found.version => {}
            _ => {
                known.incumbents.insert(at, found);
            }
        },
        Holder::OfSibling(sibling, true) => known.siblings.entry(at).or_default().push(sibling),
        Holder::OfSibling(_, false) => {}
    }
}
