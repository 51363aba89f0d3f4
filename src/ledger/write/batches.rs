//! Batches: the intent before a request, and the failure after its response.

use std::time::Duration;

use sqlx::types::{Json, Uuid};

use super::{
    BatchOutcome, BatchRef, Ledger, LedgerError, RemainingTokens, Run, Unsettled,
    columns::{DestinationColumns, ReasonColumns, column},
};
use crate::domain::{Batch, Reason, SourceKey, Witness};

/// Returns a column unless nothing is in it.
fn unless_absent<T>(column: Vec<Option<T>>) -> Option<Vec<Option<T>>> {
    column.iter().any(Option::is_some).then_some(column)
}

impl Ledger {
    /// Records the intent to send a batch, with the tokens that would be read back.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over. Nothing may be sent
    /// then.
    pub async fn open_batch(
        &self,
        run: &Run,
        batch: &Batch,
        witnesses: &[Witness],
    ) -> Result<BatchRef, LedgerError> {
        let nonce = Uuid::from_bytes(rand::random());
        let items = &batch.items;
        let keys = column(items, |item| item.key.as_str());
        let fingerprints: Vec<u8> = items
            .iter()
            .flat_map(|item| *item.fingerprint.as_bytes())
            .collect();
        let destinations: Vec<u8> = items
            .iter()
            .flat_map(|item| *item.destination_id.as_bytes())
            .collect();
        let parts: Vec<u8> = items.iter().flat_map(|item| item.parts.to_bytes()).collect();
        let versions = unless_absent(column(items, |item| item.version.get()));
        let at = DestinationColumns::new(items, |item| (Some(&item.destination), None));
        let (users, tenants) = (unless_absent(at.users), unless_absent(at.tenants));
        let mut apps = at.apps;
        if apps.iter().all(|app| *app == apps[0]) {
            // One stands for all.
            apps.truncate(1);
        }
        let others = items.iter().filter_map(|item| item.replaces.as_ref());
        let replaces: Vec<&str> = others.map(SourceKey::as_str).collect();
        let known = run.writes.known();
        let opened = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    "insert into batches (run_id, parent_id, subject, token_count, nonce, source_keys, fingerprints,
                            destinations, source_versions, app_ids, user_ids, tenant_ids, replaces, parts, witnesses)
                     select runs.id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
                     -- Locked: a process that takes the run over either sees this batch or prevents it.
                     from runs where runs.id = $1 and runs.epoch = $16 and runs.writes between $17 and $18 for share
                     -- The request leaves after this attempt to record it, not after the first.
                     on conflict (nonce) do update set submitted_at = now()
                     returning id",
                    run.id,
                    batch.parent,
                    batch.subject.as_str(),
                    i32::try_from(items.len()).unwrap_or(i32::MAX),
                    nonce,
                    &keys as &[&str],
                    fingerprints,
                    destinations,
                    versions.as_deref() as Option<&[Option<i64>]>,
                    &apps as &[Option<&str>],
                    users.as_deref() as Option<&[Option<&str>]>,
                    tenants.as_deref() as Option<&[Option<&str>]>,
                    &replaces as &[&str],
                    parts,
                    Json(witnesses) as _,
                    run.epoch,
                    known.start(),
                    known.end(),
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        match opened {
            Some(id) => Ok(BatchRef { id, nonce }),
            None => Err(self.why_not_ours(run).await),
        }
    }

    /// Records the intent to send the same batch again. The time of the latest attempt starts anew.
    ///
    /// # Errors
    /// If the database stays unreachable. Nothing may be sent then.
    pub async fn reopen_batch(&self, run: &Run, batch: BatchRef, attempts: i32) -> Result<(), LedgerError> {
        let known = run.writes.known();
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    // The run is locked, so that a process that takes it over waits and then sees the new
                    // time.
                    "update batches set attempts = $2, submitted_at = now()
                     where id = $1 and nonce = $5 and state = 'in_flight'
                       and exists (select from runs where runs.id = $3 and runs.epoch = $4 and runs.writes between $6 and $7 for share)",
                    batch.id,
                    attempts,
                    run.id,
                    run.epoch,
                    batch.nonce,
                    known.start(),
                    known.end(),
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }

    /// Records a response that does not come from the service: the batch stays in flight, but need not have
    /// reached the run's target.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn note_odd_answer(&self, batch: BatchRef, http_status: i32) -> Result<(), LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "update batches set http_status = $3 where id = $1 and nonce = $2 and state = 'in_flight'",
                batch.id,
                batch.nonce,
                http_status,
            )
            .execute(&self.pool)
        })
        .await
        .map(drop)
    }

    /// Records that the batch is not committed, and the tokens that caused it: positions from 0, each with
    /// its reason. The other tokens have no outcome yet. If the batch may be stored all the same, its
    /// destinations are recorded as uncertain.
    ///
    /// # Errors
    /// If the database stays unreachable. The batch is then still in flight, and is settled by the next run.
    pub async fn fail_batch(
        &self,
        outcome: &BatchOutcome,
        reason: &Reason,
        blamed: &[(usize, Reason)],
    ) -> Result<(), LedgerError> {
        let positions = column(blamed, |(position, _)| {
            i32::try_from(position + 1).unwrap_or(i32::MAX)
        });
        let why = ReasonColumns::new(blamed, |(_, reason)| Some(reason));
        if (!blamed.is_empty() || outcome.residue == RemainingTokens::Possible)
            && let Some(tokens) = self.tokens_in_flight(outcome.batch).await?
        {
            let keys = blamed
                .iter()
                .filter_map(|(position, _)| tokens.keys.get(*position));
            let keys: Vec<&str> = keys.map(String::as_str).collect();
            self.move_to_rows(&keys).await?;
            self.token_filters.add_row_keys(keys.into_iter());
            self.token_filters.add_row_destinations(tokens.destinations());
        }
        let closed = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"with batch as (
                           select id, run_id
                           from batches where id = $1 and nonce = $11 and state = 'in_flight' for update
                       ), sent as (
                           -- What a batch in flight holds never changes.
                           select batch_tokens.* from batch join batch_tokens on batch_id = batch.id
                       ), closed as (
                           update batches set state = 'failed', attempts = $2, http_status = $3, error_code = $5,
                                  reason = $6, finished_at = now(), source_keys = null, fingerprints = null,
                                  destinations = null, source_versions = null, app_ids = null, user_ids = null,
                                  tenant_ids = null, replaces = null, parts = null, witnesses = null
                           where id = (select id from batch)
                           returning 1
                       ), uncertain as (
                           insert into former_places (destination, migration, run_id, source_key, unresolved_batch)
                           select distinct on (sent.destination) sent.destination, $4, batch.run_id, sent.source_key, batch.id
                           from batch, sent where $12
                           on conflict (destination, migration, run_id) do update set
                                  unresolved_batch = excluded.unresolved_batch
                       ), written as (
                           insert into token_rows (migration, source_key, state, refused_by, error_code, reason, app_id,
                                  user_id, tenant_id, destination, source_version, fingerprint, batch_id, run_id)
                           select $4, sent.source_key, 'failed', blamed.refused_by, blamed.error_code, blamed.reason,
                                  sent.app_id, sent.user_id, sent.tenant_id, sent.destination, sent.source_version,
                                  sent.fingerprint, batch.id, batch.run_id
                           from batch, sent
                                join unnest($7::int[], $8::text[], $9::text[], $10::text[])
                                     as blamed (position, refused_by, error_code, reason)
                                  on blamed.position = sent.position
                           on conflict (migration, source_key) do update set
                                  superseded_code = null, superseded_by = null,
                                  state = 'failed', refused_by = excluded.refused_by, error_code = excluded.error_code,
                                  reason = excluded.reason, app_id = excluded.app_id, user_id = excluded.user_id,
                                  tenant_id = excluded.tenant_id, destination = excluded.destination,
                                  source_version = excluded.source_version, fingerprint = excluded.fingerprint,
                                  row_digest = null, batch_id = excluded.batch_id, run_id = excluded.run_id,
                                  attempts = token_rows.attempts + 1, updated_at = now()
                       )
                       select count(*) as "closed!" from closed"#,
                    outcome.batch.id,
                    outcome.attempts,
                    outcome.http_status,
                    self.migration,
                    reason.code.as_ref(),
                    reason.text,
                    &positions,
                    &why.refused_by as &[Option<&str>],
                    &why.codes as &[Option<&str>],
                    &why.texts as &[Option<&str>],
                    outcome.batch.nonce,
                    outcome.residue == RemainingTokens::Possible,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        if closed == 0 {
            self.expect_state(outcome.batch, "failed").await?;
        }
        self.outcomes.add(outcome.batch);
        Ok(())
    }

    /// Returns the batches of this migration that are in flight. The caller must hold the lock, so that their
    /// processes are gone.
    ///
    /// # Errors
    /// If the database stays unreachable, or holds data that this program does not write.
    pub async fn unsettled(&self) -> Result<Vec<Unsettled>, LedgerError> {
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"select batches.id, nonce, batches.attempts, token_count,
                              extract(epoch from now() - submitted_at)::float8 as "age_s!",
                              floor(extract(epoch from submitted_at))::bigint as "submitted_at!",
                              -- After forgetting tokens, it cannot tell if a witness was there before.
                              case when not exists (select from forgotten_tokens where extent = 'anything')
                                   then witnesses end as "witnesses: Json<Vec<Witness>>"
                       from batches join runs on runs.id = run_id
                       where batches.state = 'in_flight' and runs.migration = $1
                       order by batches.id"#,
                    self.migration,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let unsettled = rows.into_iter().map(|row| Unsettled {
            batch: BatchRef {
                id: row.id,
                nonce: row.nonce,
            },
            age: Duration::try_from_secs_f64(row.age_s).unwrap_or_default(),
            submitted_at: row.submitted_at,
            attempts: row.attempts,
            token_count: row.token_count,
            witnesses: row.witnesses.map(|Json(witnesses)| witnesses).unwrap_or_default(),
        });
        Ok(unsettled.collect())
    }
}
