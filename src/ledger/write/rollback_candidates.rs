//! Candidates of a rollback: the tokens that it may delete, and those it must refuse.

use std::{collections::HashMap, time::Duration};

use sqlx::types::Json;

use super::{Committed, IntendedDeletion, Ledger, LedgerError, MANY_ROWS, RollbackCandidate, RollbackRun};
use crate::domain::{DestinationId, DryRun, Probe, SourceKey};

impl Ledger {
    /// Refuses tokens of the run whose destinations had other outcomes since, so that the ledger cannot tell
    /// where they are. Tokens that an earlier process was deleting may be among them.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn refuse_former(&self, of: &RollbackRun) -> Result<(), LedgerError> {
        let found = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"with run as (
                           select id from runs where id = $1 and epoch = $2
                       ), former as (
                           select distinct on (source_key) source_key
                           from former_places
                           where migration = $3 and run_id = $4
                             and not exists (select from token_rows where token_rows.destination = former_places.destination
                                               and token_rows.migration = $3 and state = 'committed' and run_id = $4)
                       ), refused as (
                           select former.source_key, app_id, user_id, tenant_id
                           from former left join token_rows on token_rows.source_key = former.source_key and migration = $3
                       ), written as (
                           insert into rollbacks (run_id, source_key, of_run, app_id, user_id, tenant_id, state, error_code, reason,
                                  ended_at)
                           select run.id, source_key, $4, app_id, user_id, tenant_id, 'refused', $5, $6, now()
                           from run, refused
                           on conflict (run_id, source_key) do update set state = 'refused', error_code = excluded.error_code,
                                  reason = excluded.reason, ended_at = now()
                           -- Removed, sent again, then sent elsewhere: it is still at the first place.
                           where rollbacks.state in ('deleting', 'removed', 'gone')
                       ), found as (
                           insert into findings (run_id, source_key, severity, refused_by, error_code, reason, app_id, user_id,
                                  tenant_id)
                           select run.id, source_key, 'error', 'validation', $5, $6, app_id, user_id, tenant_id
                           from run, refused
                           on conflict do nothing
                       )
                       select id from run"#,
                    of.run.id,
                    of.run.epoch,
                    self.migration,
                    of.rollback_request.of_run,
                    "outcome_since",
                    "a later run or another row has used this row's destination since: its token may not be the one that this \
                     run uploaded",
                )
                .fetch_optional(self.pool.within(MANY_ROWS))
            })
            .await?;
        self.expect_ours(&of.run, found.is_some()).await
    }

    /// Returns the next tokens of the run that have no outcome in this rollback, ordered by key as text.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn rollback_candidates(
        &self,
        of: &RollbackRun,
        after: Option<&SourceKey>,
        limit: i64,
    ) -> Result<Vec<RollbackCandidate>, LedgerError> {
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"with mine as (
                           select token_rows.*, rolled.state as rolled, rolled.token_id, rolled.probe, rolled.expiry, rolled.begun_at
                           from token_rows left join rollbacks rolled on rolled.run_id = $2
                                and rolled.source_key = token_rows.source_key
                           where migration = $1 and token_rows.run_id = $3 and token_rows.state = 'committed'
                             and ($5::text is null or token_rows.source_key > $5)
                             -- A removed token that is back was sent again when the run was resumed.
                             and (coalesce(rolled.state, 'deleting') = 'deleting'
                                  or rolled.state in ('removed', 'gone') and not $7)
                           order by token_rows.source_key limit $6
                       )
                       select source_key as "source_key!", destination, fingerprint as "fingerprint!", app_id as "app_id!", user_id, tenant_id,
                              floor(extract(epoch from coalesce(
                                  (select submitted_at from batches where id = batch_id), updated_at)))::bigint as "sent_at!",
                              case when rolled = 'deleting' then token_id end as token_id,
                              probe as "probe: Json<Probe>", expiry, extract(epoch from now() - begun_at)::float8 as age_s,
                              (select max(other.run_id) from (
                                   select former.run_id from former_places former where former.destination = mine.destination
                                   union all
                                   select token.run_id from token_rows token
                                   where token.destination = mine.destination and token.state = 'committed'
                                     and (token.source_key, token.migration) <> (mine.source_key, mine.migration)
                               ) as other join runs on runs.id = other.run_id
                               -- Of the same target, if it is known.
                               where other.run_id <> $3 and coalesce(nullif(runs.api, ''), $4) = $4) as shared_with
                       from mine order by source_key"#,
                    self.migration,
                    of.run.id,
                    of.rollback_request.of_run,
                    of.api,
                    after.map(SourceKey::as_str),
                    limit,
                    of.rollback_request.dry_run == DryRun::On,
                )
                .fetch_all(self.pool.within(MANY_ROWS))
            })
            .await?;
        let destination = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(DestinationId::from_slice);
        let destinations: Vec<_> = rows
            .iter()
            .filter_map(|row| destination(&row.destination))
            .collect();
        // Packed tokens of the run itself are rows by now.
        let mut packed = HashMap::new();
        for token in self.packed_at(&destinations).await? {
            let is_here = token.sibling.is_none_or(|(_, is_here)| is_here);
            if is_here && token.run != of.rollback_request.of_run {
                let latest = packed.entry(token.destination).or_insert(token.run);
                *latest = token.run.max(*latest);
            }
        }
        rows.into_iter()
            .map(|row| {
                let at = destination(&row.destination);
                let packed = at.and_then(|at| packed.get(&at).copied());
                let token = Committed::new(
                    row.source_key,
                    &row.fingerprint,
                    row.sent_at,
                    row.app_id,
                    row.user_id,
                    row.tenant_id,
                )?;
                Ok(RollbackCandidate {
                    token,
                    shared_with: row.shared_with.max(packed),
                    intended: row.token_id.map(|token_id| IntendedDeletion {
                        token_id,
                        probe: row.probe.map(|Json(probe)| probe),
                        expiry: row.expiry,
                        age: Duration::try_from_secs_f64(row.age_s.unwrap_or_default()).unwrap_or_default(),
                    }),
                })
            })
            .collect()
    }
}
