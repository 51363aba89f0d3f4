//! Findings: problems of rows that do not decide their outcome.

use super::{
    Ledger, LedgerError, Run,
    columns::{DestinationColumns, ReasonColumns, column},
};
use crate::domain::Finding;

impl Ledger {
    /// Records findings in one statement. A finding that this run already has stays as it is.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn record_findings(&self, run: &Run, findings: &[Finding]) -> Result<(), LedgerError> {
        if findings.is_empty() {
            return Ok(());
        }
        let keys = column(findings, |finding| finding.key.as_str());
        let severities = column(findings, |finding| finding.kind.as_str());
        let why = ReasonColumns::new(findings, |finding| Some(&finding.reason));
        let at = DestinationColumns::new(findings, |finding| {
            (finding.destination.as_ref(), finding.app.as_deref())
        });
        let by = column(findings, |finding| finding.superseded_by.as_deref());
        let found = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    // The run's row is returned, not the findings: a repeated statement inserts none.
                    "with run as (
                         select id from runs where id = $1 and epoch = $2
                     ), noted as (
                         insert into findings (run_id, source_key, severity, refused_by, error_code, reason, app_id, user_id,
                                tenant_id, superseded_by)
                         select run.id, found.*
                         from run, unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                                $10::text[], $11::text[]) as found
                         on conflict do nothing
                     )
                     select id from run",
                    run.id,
                    run.epoch,
                    &keys as &[&str],
                    &severities as &[&str],
                    &why.refused_by as &[Option<&str>],
                    &why.codes as &[Option<&str>],
                    &why.texts as &[Option<&str>],
                    &at.apps as &[Option<&str>],
                    &at.users as &[Option<&str>],
                    &at.tenants as &[Option<&str>],
                    &by as &[Option<&str>],
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        self.expect_ours(run, found.is_some()).await
    }
}
