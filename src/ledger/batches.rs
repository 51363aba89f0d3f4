//! Batches: the intent before a request, the outcome after its answer.

use std::time::Duration;

use sqlx::types::Uuid;

use super::{Ledger, LedgerError, Run, runs::ours};
use crate::model::{Batch, Fingerprint, Item, Probe, Reason, SourceKey, Subject};

/// A batch in flight whose process is gone: what became of it is to be found out.
#[derive(Debug)]
pub struct Unsettled {
    /// The batch.
    pub id: i64,
    /// How long ago its latest attempt was about to leave, by the database's clock.
    pub age: Duration,
    /// Requests that carried it.
    pub attempts: i32,
    /// How many tokens it holds.
    pub token_count: i32,
    /// Which of them to read back.
    pub probe: Probe,
    /// The digest of the value that was sent for it.
    pub digest: Fingerprint,
}

/// How an attempt ended, for the batch's row.
#[derive(Debug, Clone, Copy)]
pub struct OutcomeOf {
    /// The batch.
    pub batch: i64,
    /// Requests that carried it.
    pub attempts: i32,
    /// The last status, where there was an answer.
    pub http_status: Option<i32>,
}

impl Ledger {
    /// Records that a batch is about to be sent. `probe` is the position of the token that would be read back.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over. Nothing may be sent then.
    pub async fn open_batch(
        &self,
        run: &Run,
        batch: &Batch,
        probe: usize,
        by_refresh_token: bool,
        digest: &Fingerprint,
    ) -> Result<i64, LedgerError> {
        let nonce = Uuid::from_bytes(rand::random());
        let items = &batch.items;
        let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
        let fingerprints: Vec<&[u8]> = items
            .iter()
            .map(|item| &item.fingerprint.as_bytes()[..])
            .collect();
        let destinations: Vec<&[u8]> = items
            .iter()
            .map(|item| &item.destination_id.as_bytes()[..])
            .collect();
        let versions: Vec<Option<i64>> = items.iter().map(|item| item.version.get()).collect();
        let apps: Vec<&str> = items
            .iter()
            .map(|item| item.destination.app_id.as_str())
            .collect();
        let users: Vec<Option<&str>> = items
            .iter()
            .map(|item| item.destination.user_id.as_deref())
            .collect();
        let tenants: Vec<Option<&str>> = items
            .iter()
            .map(|item| item.destination.tenant_id.as_deref())
            .collect();
        let replaces: Vec<&str> = items
            .iter()
            .filter_map(|item| item.replaces.as_ref())
            .map(SourceKey::as_str)
            .collect();
        let external = items
            .get(probe)
            .and_then(|item: &Item| item.destination.external_identifier.as_deref());
        self.persist(|| {
            sqlx::query_scalar!(
                "insert into batches (run_id, parent_id, subject, token_count, nonce, source_keys, fingerprints,
                        destinations, source_versions, app_ids, user_ids, tenant_ids, replaces, probe_position,
                        probe_external_identifier, probe_by_refresh_token, probe_digest)
                 select runs.id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
                 -- Locked, so that a process that takes the run over either sees this batch or keeps it from being opened.
                 from runs where runs.id = $1 and runs.epoch = $18 for share
                 -- Sent only after this attempt to record it, however long that takes after the first.
                 on conflict (nonce) do update set submitted_at = now()
                 returning id",
                run.id,
                batch.parent,
                batch.subject.as_str(),
                i32::try_from(items.len()).unwrap_or(i32::MAX),
                nonce,
                &keys as &[&str],
                &fingerprints as &[&[u8]],
                &destinations as &[&[u8]],
                &versions as &[Option<i64>],
                &apps as &[&str],
                &users as &[Option<&str>],
                &tenants as &[Option<&str>],
                &replaces as &[&str],
                i32::try_from(probe + 1).unwrap_or(1),
                external,
                by_refresh_token,
                &digest.as_bytes()[..],
                run.epoch,
            )
            .fetch_optional(&self.pool)
        })
        .await?
        .ok_or(LedgerError::TakenOver)
    }

    /// Records that the same batch is about to be sent again: what is under way now counts from this moment.
    ///
    /// # Errors
    /// If the database stays away. Nothing may be sent then.
    pub async fn reopen_batch(&self, run: &Run, batch: i64, attempts: i32) -> Result<(), LedgerError> {
        self.persist(|| {
            sqlx::query!(
                // The run is locked, so that who takes it over waits, and then sees the new time.
                "update batches set attempts = $2, submitted_at = now()
                 where id = $1 and state = 'in_flight'
                   and exists (select from runs where runs.id = $3 and runs.epoch = $4 for share)",
                batch,
                attempts,
                run.id,
                run.epoch,
            )
            .execute(&self.pool)
        })
        .await
        .and_then(|done| ours(&done))
    }

    /// Records that nothing of the batch is stored, and which of its tokens are to blame: positions from 0, each with its
    /// reason. The others have no outcome yet.
    ///
    /// # Errors
    /// If the database stays away. The batch is then still in flight, and is settled by the next run.
    pub async fn fail_batch(
        &self,
        outcome: &OutcomeOf,
        reason: &Reason,
        blamed: &[(usize, Reason)],
    ) -> Result<(), LedgerError> {
        let positions: Vec<i32> = blamed
            .iter()
            .map(|(position, _)| i32::try_from(position + 1).unwrap_or(i32::MAX))
            .collect();
        let refused_by: Vec<&str> = blamed
            .iter()
            .map(|(_, reason)| reason.refused_by.as_str())
            .collect();
        let codes: Vec<&str> = blamed.iter().map(|(_, reason)| reason.code.as_ref()).collect();
        let texts: Vec<&str> = blamed.iter().map(|(_, reason)| reason.text.as_str()).collect();
        let closed = self
            .persist(|| {
                sqlx::query_scalar!(
                    r#"with batch as (
                           select id, run_id, source_keys, fingerprints, destinations, source_versions, app_ids,
                                  user_ids, tenant_ids
                           from batches where id = $1 and state = 'in_flight' for update
                       ), closed as (
                           update batches set state = 'failed', attempts = $2, http_status = $3, error_code = $5,
                                  reason = $6, finished_at = now(), source_keys = null, fingerprints = null,
                                  destinations = null, source_versions = null, app_ids = null, user_ids = null,
                                  tenant_ids = null, replaces = null
                           where id = (select id from batch)
                           returning 1
                       ), written as (
                           insert into token_rows (migration, source_key, state, refused_by, error_code, reason, app_id,
                                  user_id, tenant_id, destination, source_version, fingerprint, batch_id, run_id)
                           select $4, sent.source_key, 'failed', blamed.refused_by, blamed.error_code, blamed.reason,
                                  sent.app_id, sent.user_id, sent.tenant_id, sent.destination, sent.source_version,
                                  sent.fingerprint, batch.id, batch.run_id
                           from batch, unnest(batch.source_keys, batch.fingerprints, batch.destinations,
                                  batch.source_versions, batch.app_ids, batch.user_ids, batch.tenant_ids)
                                with ordinality as sent (source_key, fingerprint, destination, source_version, app_id,
                                                         user_id, tenant_id, position)
                                join unnest($7::int[], $8::text[], $9::text[], $10::text[])
                                     as blamed (position, refused_by, error_code, reason)
                                  on blamed.position = sent.position
                           on conflict (migration, source_key) do update set
                                  state = 'failed', refused_by = excluded.refused_by, error_code = excluded.error_code,
                                  reason = excluded.reason, app_id = excluded.app_id, user_id = excluded.user_id,
                                  tenant_id = excluded.tenant_id, destination = excluded.destination,
                                  source_version = excluded.source_version, fingerprint = excluded.fingerprint,
                                  batch_id = excluded.batch_id, run_id = excluded.run_id,
                                  attempts = token_rows.attempts + 1, updated_at = now()
                       )
                       select count(*) as "closed!" from closed"#,
                    outcome.batch,
                    outcome.attempts,
                    outcome.http_status,
                    self.migration,
                    reason.code.as_ref(),
                    reason.text,
                    &positions,
                    &refused_by as &[&str],
                    &codes as &[&str],
                    &texts as &[&str],
                )
                .fetch_one(&self.pool)
            })
            .await?;
        if closed == 0 {
            self.expect_state(outcome.batch, "failed").await
        } else {
            Ok(())
        }
    }

    /// A statement that found nothing to change is a repetition, or a bug.
    pub(super) async fn expect_state(&self, batch: i64, expected: &str) -> Result<(), LedgerError> {
        let state = self
            .persist(|| {
                sqlx::query_scalar!("select state from batches where id = $1", batch).fetch_one(&self.pool)
            })
            .await?;
        if state == expected {
            Ok(())
        } else {
            Err(LedgerError::Contradiction(format!(
                "batch {batch} should be {expected} and is {state}"
            )))
        }
    }

    /// The batches of this migration that are in flight. Only with the lock held: their processes are gone then.
    ///
    /// # Errors
    /// If the database stays away, or holds what this program does not write.
    pub async fn unsettled(&self) -> Result<Vec<Unsettled>, LedgerError> {
        let rows = self
            .persist(|| {
                sqlx::query!(
                    r#"select batches.id, subject, batches.attempts,
                              extract(epoch from now() - submitted_at)::float8 as "age_s!", token_count, probe_external_identifier,
                              probe_by_refresh_token, probe_digest, app_ids[probe_position] as app_id,
                              user_ids[probe_position] as user_id, tenant_ids[probe_position] as tenant_id
                       from batches join runs on runs.id = run_id
                       where batches.state = 'in_flight' and runs.migration = $1
                       order by batches.id"#,
                    self.migration,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        rows.into_iter()
            .map(|row| {
                let digest = row.probe_digest.as_deref().and_then(Fingerprint::from_slice);
                let (Some(digest), Some(app_id)) = (digest, row.app_id) else {
                    return Err(LedgerError::Contradiction(format!(
                        "batch {} does not say what it holds",
                        row.id
                    )));
                };
                Ok(Unsettled {
                    id: row.id,
                    age: Duration::try_from_secs_f64(row.age_s).unwrap_or_default(),
                    attempts: row.attempts,
                    token_count: row.token_count,
                    probe: Probe {
                        subject: if row.subject == "tenant" {
                            Subject::Tenant
                        } else {
                            Subject::User
                        },
                        app_id,
                        user_id: row.user_id,
                        tenant_id: row.tenant_id,
                        external_identifier: row.probe_external_identifier,
                        by_refresh_token: row.probe_by_refresh_token.unwrap_or(false),
                    },
                    digest,
                })
            })
            .collect()
    }
}
