//! Tokens: what is known of the rows of a page, and outcomes that no request is behind.

use std::collections::HashMap;

use super::{Ledger, LedgerError, Run, prior_tokens::Priors};
use crate::{
    domain::{
        CurrentHolder, Decision, Destination, DestinationId, LastOutcome, LedgerState, RunId, SiblingToken,
        SourceKey, TokenState, Unsent, Version,
    },
    secret::{Fingerprint, Parts},
};

/// A row whose last outcome is a failure.
#[derive(Debug, Clone)]
pub struct FailedRow {
    /// The run in which it failed.
    run: RunId,
    /// The row.
    pub key: SourceKey,
}

impl Ledger {
    /// Whether nothing was known of any tokens when this process began: no process was at them before, of whatever migration.
    ///
    /// # Errors
    /// If the database stays away.
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

    /// What is known of these rows and of what is at their destinations, in one round trip.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn lookup<'a>(
        &self,
        keys: impl Iterator<Item = &'a SourceKey>,
        destinations: impl Iterator<Item = DestinationId>,
    ) -> Result<LedgerState, LedgerError> {
        let keys: Vec<&str> = keys.map(SourceKey::as_str).collect();
        let destinations: Vec<DestinationId> = destinations.collect();
        self.file_those_at(&destinations).await?;
        let destinations: Vec<&[u8]> = destinations.iter().map(|id| &id.as_bytes()[..]).collect();
        if keys.is_empty() && destinations.is_empty() {
            return Ok(LedgerState::default());
        }
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"-- One look at the index for each key and each destination, whatever the planner believes of a
                       -- table that grows while it is used: its plans with `= any` read all tokens for each page.
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
                              -- Of other migrations, what went to the same project and address, as far as that is known.
                              migration = $1
                              or exists (select from runs where id = run_id and coalesce(nullif(api, ''), $4) = $4),
                              null
                       from unnest($3::bytea[]) as asked (place) cross join lateral (
                              select * from token_rows
                              where destination = asked.place and state = 'committed' offset 0
                       ) as holder
                       union all
                       -- What stood there before, of whatever migration, and the last batch of which nobody can tell.
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
            self.tell_when(&mut known).await?;
        }
        Ok(known)
    }

    /// Adds when batches were under way, where another migration's may have been so at the same time.
    async fn tell_when(&self, known: &mut LedgerState) -> Result<(), LedgerError> {
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

    /// The next rows that failed in a run before `run`, with this code if there is one: those first whose last attempt is longest
    /// ago. So a run that ends early leaves the others to the next one, and a row that fails again does not come twice.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn failed_rows(
        &self,
        run: RunId,
        code: Option<&str>,
        after: Option<&FailedRow>,
        limit: i64,
    ) -> Result<Vec<FailedRow>, LedgerError> {
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    "select run_id, source_key from token_rows
                     where migration = $1 and state = 'failed' and run_id < $2 and (run_id, source_key) > ($3, $4)
                       and ($5::text is null or error_code = $5)
                     order by run_id, source_key limit $6",
                    self.migration,
                    run,
                    after.map_or(0, |row| row.run),
                    after.map_or("", |row| row.key.as_str()),
                    code,
                    limit,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let rows = rows.into_iter().map(|row| FailedRow {
            run: row.run_id,
            key: SourceKey::from(row.source_key),
        });
        Ok(rows.collect())
    }

    /// Records rows that end without a request: failed by a local rule, or superseded. What is at its destination already
    /// stays committed when it is superseded, until the newer row has arrived.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn record_outcomes(&self, run: &Run, decisions: &[Decision]) -> Result<(), LedgerError> {
        let superseded = || {
            decisions
                .iter()
                .filter(|decision| decision.state() == TokenState::Superseded)
        };
        let known = self
            .lookup(superseded().map(|decision| &decision.key), std::iter::empty())
            .await?;
        let (stored, others): (Vec<&Decision>, Vec<&Decision>) = decisions.iter().partition(|decision| {
            known
                .rows
                .get(&decision.key)
                .is_some_and(|row| row.state == TokenState::Committed)
        });
        self.mark_outdated(run, &stored).await?;
        self.write_decisions(run, &others).await
    }

    /// Rows that are stored, and for which there is a newer one.
    async fn mark_outdated(&self, run: &Run, decisions: &[&Decision]) -> Result<(), LedgerError> {
        if decisions.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = decisions.iter().map(|decision| decision.key.as_str()).collect();
        let versions: Vec<Option<i64>> = decisions.iter().map(|decision| decision.version.get()).collect();
        let (codes, by) = superseded(decisions);
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "update token_rows set outdated_run = runs.id, outdated_version = marked.version,
                            superseded_code = marked.code, superseded_by = marked.by
                     from runs, unnest($3::text[], $4::bigint[], $6::text[], $7::text[]) as marked (row_key, version, code, by)
                     where token_rows.migration = $1 and source_key = marked.row_key and runs.id = $2 and runs.epoch = $5",
                    self.migration,
                    run.id,
                    &keys as &[&str],
                    &versions as &[Option<i64>],
                    run.epoch,
                    &codes as &[Option<&str>],
                    &by as &[Option<&str>],
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    async fn write_decisions(&self, run: &Run, decisions: &[&Decision]) -> Result<(), LedgerError> {
        if decisions.is_empty() {
            return Ok(());
        }
        let ids: Vec<Option<DestinationId>> = decisions
            .iter()
            .map(|decision| decision.destination.as_ref().map(Destination::id))
            .collect();
        let keys: Vec<&str> = decisions.iter().map(|decision| decision.key.as_str()).collect();
        let states: Vec<&str> = decisions
            .iter()
            .map(|decision| decision.state().as_str())
            .collect();
        let reasons = || decisions.iter().map(|decision| decision.failure());
        let refused_by: Vec<Option<&str>> = reasons()
            .map(|r| r.map(|reason| reason.refused_by.as_str()))
            .collect();
        let codes: Vec<Option<&str>> = reasons().map(|r| r.map(|reason| reason.code.as_ref())).collect();
        let texts: Vec<Option<&str>> = reasons().map(|r| r.map(|reason| reason.text.as_str())).collect();
        let places = || decisions.iter().map(|decision| decision.destination.as_ref());
        let apps: Vec<Option<&str>> = decisions
            .iter()
            .map(|decision| {
                decision
                    .destination
                    .as_ref()
                    .map_or(decision.app.as_deref(), |d| Some(d.app_id.as_str()))
            })
            .collect();
        let users: Vec<Option<&str>> = places()
            .map(|d| d.and_then(|place| place.user_id.as_deref()))
            .collect();
        let tenants: Vec<Option<&str>> = places()
            .map(|d| d.and_then(|place| place.tenant_id.as_deref()))
            .collect();
        let destinations: Vec<Option<&[u8]>> = ids
            .iter()
            .map(|id| id.as_ref().map(|id| &id.as_bytes()[..]))
            .collect();
        let versions: Vec<Option<i64>> = decisions.iter().map(|decision| decision.version.get()).collect();
        let (superseded_codes, superseded_by) = superseded(decisions);
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "insert into token_rows (migration, source_key, state, refused_by, error_code, reason, app_id, user_id,
                            tenant_id, destination, source_version, superseded_code, superseded_by, run_id, outdated_run,
                            outdated_version)
                     select $1, decided.*, runs.id, case decided.state when 'superseded' then runs.id end,
                            decided.source_version
                     from runs, unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                            $8::text[], $9::text[], $10::text[], $11::bytea[], $12::bigint[], $14::text[], $15::text[])
                            as decided (source_key, state, refused_by, error_code, reason, app_id, user_id, tenant_id,
                                        destination, source_version, superseded_code, superseded_by)
                     where runs.id = $2 and runs.epoch = $13
                     on conflict (migration, source_key) do update set
                            state = excluded.state, refused_by = excluded.refused_by, error_code = excluded.error_code,
                            reason = excluded.reason, app_id = excluded.app_id, user_id = excluded.user_id,
                            tenant_id = excluded.tenant_id, destination = excluded.destination,
                            source_version = excluded.source_version, fingerprint = null, batch_id = null,
                            run_id = excluded.run_id, outdated_run = excluded.outdated_run,
                            outdated_version = excluded.outdated_version, superseded_code = excluded.superseded_code,
                            superseded_by = excluded.superseded_by, attempts = token_rows.attempts + 1,
                            updated_at = now()",
                    self.migration,
                    run.id,
                    &keys as &[&str],
                    &states as &[&str],
                    &refused_by as &[Option<&str>],
                    &codes as &[Option<&str>],
                    &texts as &[Option<&str>],
                    &apps as &[Option<&str>],
                    &users as &[Option<&str>],
                    &tenants as &[Option<&str>],
                    &destinations as &[Option<&[u8]>],
                    &versions as &[Option<i64>],
                    run.epoch,
                    &superseded_codes as &[Option<&str>],
                    &superseded_by as &[Option<&str>],
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }
}

/// Why rows are left out, and for whom, as the ledger stores it; nothing of those that failed.
fn superseded<'a>(decisions: &[&'a Decision]) -> (Vec<Option<&'a str>>, Vec<Option<&'a str>>) {
    let of = |decision: &&'a Decision| match &decision.end {
        Unsent::Superseded(superseded) => (Some(superseded.code()), superseded.by()),
        Unsent::Failed(_) => (None, None),
    };
    decisions.iter().map(of).unzip()
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
