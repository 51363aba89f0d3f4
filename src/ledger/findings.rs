//! Findings: what is noticed about rows beside what becomes of them.

use super::{Ledger, LedgerError, Run};
use crate::domain::{Destination, Finding};

impl Ledger {
    /// Records findings, all of them in one statement. One that is known of this run already stays as it is.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn record_findings(&self, run: &Run, findings: &[Finding]) -> Result<(), LedgerError> {
        if findings.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = findings.iter().map(|finding| finding.key.as_str()).collect();
        let severities: Vec<&str> = findings.iter().map(|finding| finding.kind.as_str()).collect();
        let reasons = || findings.iter().map(|finding| &finding.reason);
        let refused_by: Vec<&str> = reasons().map(|reason| reason.refused_by.as_str()).collect();
        let codes: Vec<&str> = reasons().map(|reason| reason.code.as_ref()).collect();
        let texts: Vec<&str> = reasons().map(|reason| reason.text.as_str()).collect();
        let place = |part: fn(&Destination) -> Option<&str>| -> Vec<Option<&str>> {
            findings
                .iter()
                .map(|finding| finding.destination.as_ref().and_then(part))
                .collect()
        };
        let apps: Vec<Option<&str>> = findings
            .iter()
            .map(|finding| match &finding.destination {
                Some(destination) => Some(destination.app_id.as_str()),
                None => finding.app.as_deref(),
            })
            .collect();
        let by: Vec<Option<&str>> = findings
            .iter()
            .map(|finding| finding.superseded_by.as_deref())
            .collect();
        let users = place(|destination| destination.user_id.as_deref());
        let tenants = place(|destination| destination.tenant_id.as_deref());
        let found = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    // The run's row is counted, not the findings: of a repeated statement there are none.
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
                    &refused_by as &[&str],
                    &codes as &[&str],
                    &texts as &[&str],
                    &apps as &[Option<&str>],
                    &users as &[Option<&str>],
                    &tenants as &[Option<&str>],
                    &by as &[Option<&str>],
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        self.expect_ours(run, found.is_some()).await
    }
}
