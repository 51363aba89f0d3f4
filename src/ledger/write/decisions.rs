//! Decisions: outcomes of rows that were not sent.

use std::collections::HashSet;

use super::{
    Ledger, LedgerError, Run,
    columns::{DestinationColumns, ReasonColumns, column},
};
use crate::domain::{Decision, Destination, SourceKey, TokenState, Unsent};

impl Ledger {
    /// Records rows that end without a request: failed by a local rule, or superseded. A superseded row that
    /// is stored stays committed until the newer row was uploaded. Returns the keys of such rows.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn record_outcomes(
        &self,
        run: &Run,
        decisions: &[Decision],
    ) -> Result<Vec<SourceKey>, LedgerError> {
        let keys = column(decisions, |decision| decision.key.as_str());
        self.move_to_rows(&keys).await?;
        self.token_filters.add_row_keys(keys.iter().copied());
        let superseded = decisions
            .iter()
            .filter(|decision| decision.state() == TokenState::Superseded);
        let committed = self
            .committed_rows(
                &superseded
                    .map(|decision| decision.key.as_str())
                    .collect::<Vec<_>>(),
            )
            .await?;
        let (stored, others): (Vec<&Decision>, Vec<&Decision>) = decisions
            .iter()
            .partition(|decision| committed.contains(decision.key.as_str()));
        self.mark_outdated(run, &stored).await?;
        self.write_decisions(run, &others).await?;
        Ok(column(&stored, |decision| decision.key.clone()))
    }

    /// Returns those of these keys whose rows are committed.
    async fn committed_rows(&self, keys: &[&str]) -> Result<HashSet<String>, LedgerError> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let found = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"-- One index lookup for each, as in `lookup`.
                       select source_key as "source_key!" from unnest($2::text[]) as asked (row_key) cross join lateral (
                              select source_key from token_rows
                              where migration = $1 and source_key = asked.row_key and state = 'committed' offset 0
                       ) as committed"#,
                    self.migration,
                    keys as &[&str],
                )
                .fetch_all(&self.pool)
            })
            .await?;
        Ok(found.into_iter().collect())
    }

    /// Marks stored rows for which there is a newer one.
    async fn mark_outdated(&self, run: &Run, decisions: &[&Decision]) -> Result<(), LedgerError> {
        if decisions.is_empty() {
            return Ok(());
        }
        let keys = column(decisions, |decision| decision.key.as_str());
        let versions = column(decisions, |decision| decision.version.get());
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
        let ids = column(decisions, |decision| {
            decision.destination.as_ref().map(Destination::id)
        });
        let destinations = column(&ids, |id| id.as_ref().map(|id| &id.as_bytes()[..]));
        let keys = column(decisions, |decision| decision.key.as_str());
        let states = column(decisions, |decision| decision.state().as_str());
        let why = ReasonColumns::new(decisions, |decision| decision.failure());
        let at = DestinationColumns::new(decisions, |decision| {
            (decision.destination.as_ref(), decision.app.as_deref())
        });
        let versions = column(decisions, |decision| decision.version.get());
        let (superseded_codes, superseded_by) = superseded(decisions);
        let digests = column(decisions, |decision| {
            decision.row_digest.as_ref().map(|digest| &digest.as_bytes()[..])
        });
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "insert into token_rows (migration, source_key, state, refused_by, error_code, reason, app_id, user_id,
                            tenant_id, destination, source_version, superseded_code, superseded_by, row_digest, run_id,
                            outdated_run, outdated_version)
                     select $1, decided.*, runs.id, case decided.state when 'superseded' then runs.id end,
                            decided.source_version
                     from runs, unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                            $8::text[], $9::text[], $10::text[], $11::bytea[], $12::bigint[], $14::text[], $15::text[], $16::bytea[])
                            as decided (source_key, state, refused_by, error_code, reason, app_id, user_id, tenant_id,
                                        destination, source_version, superseded_code, superseded_by, row_digest)
                     where runs.id = $2 and runs.epoch = $13
                     on conflict (migration, source_key) do update set
                            state = excluded.state, refused_by = excluded.refused_by, error_code = excluded.error_code,
                            reason = excluded.reason, app_id = excluded.app_id, user_id = excluded.user_id,
                            tenant_id = excluded.tenant_id, destination = excluded.destination,
                            source_version = excluded.source_version, fingerprint = null, row_digest = excluded.row_digest, batch_id = null,
                            run_id = excluded.run_id, outdated_run = excluded.outdated_run,
                            outdated_version = excluded.outdated_version, superseded_code = excluded.superseded_code,
                            superseded_by = excluded.superseded_by, attempts = token_rows.attempts + 1,
                            updated_at = now()",
                    self.migration,
                    run.id,
                    &keys as &[&str],
                    &states as &[&str],
                    &why.refused_by as &[Option<&str>],
                    &why.codes as &[Option<&str>],
                    &why.texts as &[Option<&str>],
                    &at.apps as &[Option<&str>],
                    &at.users as &[Option<&str>],
                    &at.tenants as &[Option<&str>],
                    &destinations as &[Option<&[u8]>],
                    &versions as &[Option<i64>],
                    run.epoch,
                    &superseded_codes as &[Option<&str>],
                    &superseded_by as &[Option<&str>],
                    &digests as &[Option<&[u8]>],
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }
}

/// Returns the codes and the superseding keys of superseded rows; `None` for failed ones.
fn superseded<'a>(decisions: &[&'a Decision]) -> (Vec<Option<&'a str>>, Vec<Option<&'a str>>) {
    let of = |decision: &&'a Decision| match &decision.end {
        Unsent::Superseded(superseded) => (Some(superseded.code()), superseded.by()),
        Unsent::Failed(_) => (None, None),
    };
    decisions.iter().map(of).unzip()
}
