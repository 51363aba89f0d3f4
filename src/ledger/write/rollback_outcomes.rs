//! Intents and outcomes of deletions.

use sqlx::types::Json;

use super::{
    Committed, IntendedDeletion, Ledger, LedgerError, RollbackRun,
    columns::{DestinationColumns, ReasonColumns, column},
};
use crate::domain::RollbackOutcome;

impl Ledger {
    /// Records the intent to delete a token that was recognised.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over. Nothing may be deleted
    /// then.
    pub async fn intend_deletion(
        &self,
        of: &RollbackRun,
        token: &Committed,
        intended: &IntendedDeletion,
    ) -> Result<(), LedgerError> {
        let known = of.run.writes.known();
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "insert into rollbacks (run_id, source_key, of_run, app_id, user_id, tenant_id, token_id, probe, expiry, state)
                     select runs.id, $3, $4, $5, $6, $7, $8, $9, $10, 'deleting'
                     -- Locked: a process that takes the run over either sees this intent or prevents it.
                     from runs where runs.id = $1 and runs.epoch = $2 and runs.writes between $11 and $12 for share
                     on conflict (run_id, source_key) do update set token_id = excluded.token_id, probe = excluded.probe,
                            expiry = excluded.expiry, state = 'deleting', begun_at = now(), ended_at = null
                     where rollbacks.state in ('deleting', 'removed', 'gone')",
                    of.run.id,
                    of.run.epoch,
                    token.key.as_str(),
                    of.rollback_request.of_run,
                    token.destination.app_id,
                    token.destination.user_id,
                    token.destination.tenant_id,
                    intended.token_id,
                    intended.probe.as_ref().map(Json) as _,
                    intended.expiry,
                    known.start(),
                    known.end(),
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(&of.run, done.rows_affected() > 0).await
    }

    /// Records outcomes of tokens in one statement. Tokens that are gone, or may be, leave `tokens` unless
    /// this is a dry run. A refusal is also recorded as a finding.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn roll_back(
        &self,
        of: &RollbackRun,
        ends: &[(Committed, RollbackOutcome)],
    ) -> Result<(), LedgerError> {
        if ends.is_empty() {
            return Ok(());
        }
        let keys = column(ends, |(token, _)| token.key.as_str());
        let fingerprints = column(ends, |(token, _)| &token.fingerprint.as_bytes()[..]);
        let at = DestinationColumns::new(ends, |(token, _)| (Some(&token.destination), None));
        let states = column(ends, |(_, outcome)| outcome.as_str());
        let in_doubt = column(ends, |(_, outcome)| {
            matches!(outcome, RollbackOutcome::InDoubt(_))
        });
        let why = ReasonColumns::new(ends, |(_, outcome)| outcome.reason());
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
                         -- Exactly the row that was judged.
                         and token_rows.run_id = $4 and token_rows.state = 'committed' and token_rows.fingerprint = ended.fingerprint
                       returning token_rows.destination, token_rows.source_key, token_rows.batch_id, ended.in_doubt
                   ), vacated as (
                       -- No token of the run is there any more, from whichever of its rows.
                       delete from former_places using taken_out
                       where former_places.destination = taken_out.destination and not taken_out.in_doubt
                         and former_places.migration = $3 and former_places.run_id = $4
                   ), uncertain as (
                       -- The content is unknown until another token is sent there.
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
                &at.apps as &[Option<&str>],
                &at.users as &[Option<&str>],
                &at.tenants as &[Option<&str>],
                &states as &[&str],
                &why.refused_by as &[Option<&str>],
                &why.codes as &[Option<&str>],
                &why.texts as &[Option<&str>],
                &in_doubt,
            )
            .fetch_optional(&self.pool)
        })
        .await?;
        self.expect_ours(&of.run, found.is_some()).await
    }
}
