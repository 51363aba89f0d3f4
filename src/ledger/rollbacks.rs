//! Runs that delete what another run sent: which tokens they are about, and what became of each.
//!
//! What a rollback does about a token stands in `rollbacks` before it is done. A token that is deleted leaves `tokens` in the
//! statement that says so, and that statement makes a run that is still to be gone on with begin anew: as far as any later
//! run can tell, the token was never sent.

use std::time::Duration;

use sqlx::types::Json;

use super::{
    Committed, IntendedDeletion, Ledger, LedgerError, LedgerReader, MANY_ROWS, Run, continuity::Writes,
};
use crate::{
    domain::{Counters, DryRun, Mode, Probe, Rollback, RollbackOutcome, RollbackRequest, RunId, SourceKey},
    postgres::Failure,
};

/// A run that deletes what another one sent.
#[derive(Debug, Clone)]
pub struct RollbackRun {
    /// The run.
    pub run: Run,
    /// What it is about.
    pub rollback_request: RollbackRequest,
    /// Where the tokens are.
    api: String,
}

/// A token that the run in question sent, and that nobody has worked on since.
#[derive(Debug, Clone)]
pub struct RollbackCandidate {
    /// The token.
    pub token: Committed,
    /// Another run put a token at the same place.
    pub shared_with: Option<RunId>,
    /// An earlier process was about to delete it, and what became of that is not known.
    pub intended: Option<IntendedDeletion>,
}

impl Ledger {
    /// Takes up the unfinished rollback of the same run, or begins one. Only with the migration's lock held. `api` is where
    /// tokens would be deleted.
    ///
    /// # Errors
    /// If the run uploads nothing, does not exist or went elsewhere; if the role may not delete from the ledger, which shows here
    /// rather than after the first token is gone; or if the database does not answer.
    pub async fn begin_rollback(
        &self,
        rollback_request: RollbackRequest,
        api: &str,
        holder: &str,
    ) -> Result<RollbackRun, LedgerError> {
        self.expect_upload(rollback_request.of_run).await?;
        self.expect_api(rollback_request.of_run, api).await?;
        if rollback_request.dry_run == DryRun::Off {
            self.with_retry(|| {
                sqlx::query!(
                    "with places as (delete from former_places where false) delete from token_rows where false"
                )
                .execute(&self.pool)
            })
            .await?;
        }
        self.mark_orphaned_interrupted().await?;
        let writes = Writes::draw();
        let rehearsal = rollback_request.dry_run == DryRun::On;
        // `running` can only be our own answer that was lost.
        let taken_up = self
            .with_retry(|| {
                sqlx::query!(
                    "update runs set status = 'running', finished_at = null, stop_reason = null, holder = $5,
                            epoch = epoch + 1, resumed = true, progressed_at = now(), writes = $6
                     where id = (select max(id) from runs where migration = $1 and mode = $2 and rolls_back = $3
                                   and rehearsal = $4)
                       and status in ('running', 'interrupted', 'stopped')
                     returning id, epoch, requests, retries, rate_limited, lookups, active_seconds",
                    self.migration,
                    Mode::Rollback.as_str(),
                    rollback_request.of_run,
                    rehearsal,
                    holder,
                    writes.first,
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        let run = if let Some(row) = taken_up {
            Run {
                epoch: row.epoch,
                resumed: true,
                counters: Counters {
                    requests: row.requests,
                    retries: row.retries,
                    rate_limited: row.rate_limited,
                    lookups: row.lookups,
                    active_seconds: row.active_seconds,
                },
                ..Run::new(row.id, writes)
            }
        } else {
            // Not repeated when the answer is lost: the run would then be taken up by the next attempt.
            let id = sqlx::query_scalar!(
                "insert into runs (migration, mode, rolls_back, rehearsal, holder, writes) values ($1, $2, $3, $4, $5, $6) returning id",
                self.migration,
                Mode::Rollback.as_str(),
                rollback_request.of_run,
                rehearsal,
                holder,
                writes.first,
            )
            .fetch_one(&self.pool)
            .await
            .map_err(Failure::from)?;
            Run::new(id, writes)
        };
        Ok(RollbackRun {
            run,
            rollback_request,
            api: api.to_owned(),
        })
    }

    /// A token that is not found where it never was would count as gone.
    async fn expect_api(&self, run: RunId, api: &str) -> Result<(), LedgerError> {
        let went_to = self
            .with_retry(|| {
                sqlx::query_scalar!("select api from runs where id = $1", run).fetch_one(&self.pool)
            })
            .await?;
        match went_to {
            Some(went_to) if went_to == api => Ok(()),
            Some(went_to) if !went_to.is_empty() => Err(LedgerError::AnotherApi {
                run,
                went_to,
                configured: api.to_owned(),
            }),
            Some(_) | None => Err(LedgerError::ApiUnknown(run)),
        }
    }

    /// Refuses what the run sent and the ledger cannot tell any more where it is: other outcomes came later. Among it are
    /// tokens that an earlier process was about to delete.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
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
                           -- What was taken out, sent again by the run and then sent elsewhere is at the first place still.
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
                    "a later run, or another row, has had to do with this row's place since: what stands there is not what this run \
                     put there, or the ledger cannot tell",
                )
                .fetch_optional(self.pool.within(MANY_ROWS))
            })
            .await?;
        self.expect_ours(&of.run, found.is_some()).await
    }

    /// The next tokens that the run sent and that have no end in this rollback, in the order of their keys as text.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn rollback_candidates(
        &self,
        of: &RollbackRun,
        after: Option<&SourceKey>,
        limit: i64,
    ) -> Result<Vec<RollbackCandidate>, LedgerError> {
        // Another migration may be at work, and put something at the same places.
        self.file_left_behind().await?;
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"with mine as (
                           select token_rows.*, rolled.state as rolled, rolled.token_id, rolled.probe, rolled.expiry, rolled.begun_at
                           from token_rows left join rollbacks rolled on rolled.run_id = $2
                                and rolled.source_key = token_rows.source_key
                           where migration = $1 and token_rows.run_id = $3 and token_rows.state = 'committed'
                             and ($5::text is null or token_rows.source_key > $5)
                             -- What was taken out and is there again was sent again by the run, gone on with in between.
                             and (coalesce(rolled.state, 'deleting') = 'deleting'
                                  or rolled.state in ('removed', 'gone') and not $7)
                           order by token_rows.source_key limit $6
                       )
                       select source_key as "source_key!", fingerprint as "fingerprint!", app_id as "app_id!", user_id, tenant_id,
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
                               -- Of the same API, as far as that is known.
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
        rows.into_iter()
            .map(|row| {
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
                    shared_with: row.shared_with,
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

    /// Records what became of tokens, in one statement. What is not there any more, or need not be, leaves `tokens`, unless this
    /// is a dry run; a refusal is a finding as well.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn roll_back(
        &self,
        of: &RollbackRun,
        ends: &[(Committed, RollbackOutcome)],
    ) -> Result<(), LedgerError> {
        if ends.is_empty() {
            return Ok(());
        }
        let tokens = || ends.iter().map(|(token, _)| token);
        let keys: Vec<&str> = tokens().map(|token| token.key.as_str()).collect();
        let fingerprints: Vec<&[u8]> = tokens().map(|token| &token.fingerprint.as_bytes()[..]).collect();
        let apps: Vec<&str> = tokens().map(|token| token.destination.app_id.as_str()).collect();
        let users: Vec<Option<&str>> = tokens()
            .map(|token| token.destination.user_id.as_deref())
            .collect();
        let tenants: Vec<Option<&str>> = tokens()
            .map(|token| token.destination.tenant_id.as_deref())
            .collect();
        let states: Vec<&str> = ends.iter().map(|(_, outcome)| outcome.as_str()).collect();
        let in_doubt: Vec<bool> = ends
            .iter()
            .map(|(_, outcome)| matches!(outcome, RollbackOutcome::InDoubt(_)))
            .collect();
        let reasons = || ends.iter().map(|(_, outcome)| outcome.reason());
        let refused_by: Vec<Option<&str>> = reasons()
            .map(|reason| reason.map(|reason| reason.refused_by.as_str()))
            .collect();
        let codes: Vec<Option<&str>> = reasons()
            .map(|reason| reason.map(|reason| reason.code.as_ref()))
            .collect();
        let texts: Vec<Option<&str>> = reasons()
            .map(|reason| reason.map(|reason| reason.text.as_str()))
            .collect();
        let found = self.with_retry(|| {
            sqlx::query_scalar!(
                r#"with run as (
                       select id, rehearsal from runs where id = $1 and epoch = $2 for share
                   ), ended as (
                       select ended.*
                       from run, unnest($5::text[], $6::bytea[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                              $12::text[], $13::text[], $14::bool[])
                              as ended (source_key, fingerprint, app_id, user_id, tenant_id, state, refused_by, error_code,
                                        reason, in_doubt)
                   ), taken_out as (
                       delete from token_rows using ended, run
                       where (ended.state in ('removed', 'gone') or ended.in_doubt) and not run.rehearsal
                         and token_rows.migration = $3 and token_rows.source_key = ended.source_key
                         -- The very row that was judged.
                         and token_rows.run_id = $4 and token_rows.state = 'committed' and token_rows.fingerprint = ended.fingerprint
                       returning token_rows.destination, token_rows.source_key, token_rows.batch_id, ended.in_doubt
                   ), vacated as (
                       -- Nothing of the run is there any more, whichever of its rows it was.
                       delete from former_places using taken_out
                       where former_places.destination = taken_out.destination and not taken_out.in_doubt
                         and former_places.migration = $3 and former_places.run_id = $4
                   ), uncertain as (
                       -- What is there from now on is not known, until something is sent there again.
                       insert into former_places (destination, migration, run_id, source_key, unresolved_batch)
                       select distinct on (destination) destination, $3, $4, source_key, coalesce(batch_id, 0)
                       from taken_out where in_doubt
                       on conflict (destination, migration, run_id) do update set unresolved_batch =
                              greatest(former_places.unresolved_batch, excluded.unresolved_batch)
                   ), rewound as (
                       update runs set cursor = null, cursor_committed = 0, cursor_failed = 0, cursor_superseded = 0,
                              cursor_unchanged = 0
                       where migration = $3 and mode = 'migrate' and cursor is not null
                         and status in ('interrupted', 'stopped') and exists (select from taken_out)
                   ), found as (
                       insert into findings (run_id, source_key, severity, refused_by, error_code, reason, app_id, user_id,
                              tenant_id)
                       select run.id, source_key, 'error', refused_by, error_code, reason, app_id, user_id, tenant_id
                       from run, ended where state = 'refused'
                       on conflict do nothing
                   ), written as (
                       insert into rollbacks (run_id, source_key, of_run, app_id, user_id, tenant_id, state, error_code, reason,
                              ended_at)
                       select run.id, source_key, $4, app_id, user_id, tenant_id, state, error_code, reason, now()
                       from run, ended
                       on conflict (run_id, source_key) do update set state = excluded.state,
                              error_code = excluded.error_code, reason = excluded.reason, ended_at = now()
                   )
                   select id from run"#,
                of.run.id,
                of.run.epoch,
                self.migration,
                of.rollback_request.of_run,
                &keys as &[&str],
                &fingerprints as &[&[u8]],
                &apps as &[&str],
                &users as &[Option<&str>],
                &tenants as &[Option<&str>],
                &states as &[&str],
                &refused_by as &[Option<&str>],
                &codes as &[Option<&str>],
                &texts as &[Option<&str>],
                &in_doubt,
            )
            .fetch_optional(&self.pool)
        })
        .await?;
        self.expect_ours(&of.run, found.is_some()).await
    }

    /// What became of the tokens so far, whichever process it was that did it.
    ///
    /// # Errors
    /// If the database stays away.
    pub async fn rolled_back(&self, of: &RollbackRun) -> Result<Rollback, LedgerError> {
        let row = self
            .with_retry(|| {
                sqlx::query!(
                    r#"select count(*) filter (where state in ('removed', 'deletable')) as "removed!",
                              count(*) filter (where state = 'gone') as "gone!",
                              count(*) filter (where state = 'refused') as "refused!"
                       from rollbacks where run_id = $1"#,
                    of.run.id,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        Ok(Rollback {
            of_run: of.rollback_request.of_run,
            dry_run: of.rollback_request.dry_run == DryRun::On,
            removed: row.removed,
            gone: row.gone,
            refused: row.refused,
        })
    }
}

impl LedgerReader {
    /// How many tokens of which apps a rollback of this run would look at, most first.
    ///
    /// # Errors
    /// If the run uploads nothing or does not exist, or the database does not answer.
    pub async fn sent_by(&mut self, run: RunId) -> Result<Vec<(String, i64)>, LedgerError> {
        let mode = sqlx::query_scalar!(
            "select mode from runs where migration = $1 and id = $2",
            self.migration,
            run
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Failure::from)?
        .ok_or(LedgerError::NoSuchRun(run))?;
        if mode != Mode::Migrate.as_str() {
            return Err(LedgerError::UploadsNothing { run, mode });
        }
        let apps = sqlx::query!(
            r#"select app_id as "app_id!", count(*) as "count!"
               from tokens where migration = $1 and run_id = $2 and state = 'committed'
               group by app_id order by count(*) desc, app_id"#,
            self.migration,
            run,
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(Failure::from)?;
        Ok(apps.into_iter().map(|row| (row.app_id, row.count)).collect())
    }

    /// What became of the tokens of a rollback; `None` of any other run.
    pub(super) async fn rollback(&mut self, run: RunId) -> Result<Option<Rollback>, LedgerError> {
        let found = sqlx::query_as!(
            Rollback,
            r#"select rolls_back as "of_run!", rehearsal as dry_run,
                      count(*) filter (where rollbacks.state in ('removed', 'deletable')) as "removed!",
                      count(*) filter (where rollbacks.state = 'gone') as "gone!",
                      count(*) filter (where rollbacks.state = 'refused') as "refused!"
               from runs left join rollbacks on run_id = id
               where id = $1 and rolls_back is not null
               group by id"#,
            run,
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Failure::from)?;
        Ok(found)
    }
}
