//! The tokens of a verification.

use super::{Committed, Ledger, LedgerError, MANY_ROWS, VerifyRun};
use crate::domain::SourceKey;

impl Ledger {
    /// Returns the number of tokens that a verification covers.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn count_committed(&self, of: &VerifyRun) -> Result<i64, LedgerError> {
        self.with_retry(|| {
            sqlx::query_scalar!(
                r#"select count(*) as "count!" from tokens
                   where migration = $1 and state = 'committed' and ($2::bigint is null or run_id = $2)
                     and ($4::bytea is null or sha256(convert_to($3::bigint::text || '/' || source_key, 'UTF8')) <= $4)"#,
                self.migration,
                of.verification.of_run,
                of.verification.seed,
                of.sample_limit.as_deref(),
            )
            .fetch_one(self.pool.within(MANY_ROWS))
        })
        .await
    }

    /// Returns the next tokens that a verification covers, ordered by key as text.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn committed(
        &self,
        of: &VerifyRun,
        after: Option<&SourceKey>,
        limit: i64,
    ) -> Result<Vec<Committed>, LedgerError> {
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"select source_key as "source_key!", fingerprint as "fingerprint!", app_id as "app_id!", user_id, tenant_id,
                              floor(extract(epoch from coalesce(
                                  (select submitted_at from batches where id = batch_id), updated_at)))::bigint as "sent_at!"
                       from tokens
                       where migration = $1 and state = 'committed' and ($2::bigint is null or run_id = $2)
                         and ($4::bytea is null or sha256(convert_to($3::bigint::text || '/' || source_key, 'UTF8')) <= $4)
                         and ($5::text is null or source_key > $5)
                       order by source_key limit $6"#,
                    self.migration,
                    of.verification.of_run,
                    of.verification.seed,
                    of.sample_limit.as_deref(),
                    after.map(SourceKey::as_str),
                    limit,
                )
                .fetch_all(self.pool.within(MANY_ROWS))
            })
            .await?;
        rows.into_iter()
            .map(|row| {
                Committed::new(
                    row.source_key,
                    &row.fingerprint,
                    row.sent_at,
                    row.app_id,
                    row.user_id,
                    row.tenant_id,
                )
            })
            .collect()
    }
}
