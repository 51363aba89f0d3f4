//! Samples of rows from all over the source.

use sqlx::AssertSqlSafe;

use super::{Source, SourceError, error::row_error, plan::Plan};
use crate::{
    domain::{LegacyToken, SourceKey},
    postgres::FailureKind,
};

impl Source {
    /// Counts the rows; `None` if that takes longer than the statement timeout. Does not retry.
    pub async fn count_rows(&mut self) -> Option<u64> {
        let sql = format!(
            "select pg_catalog.count(*) from {}{}",
            self.plan.from,
            self.plan.filter(None)
        );
        let counted: Result<i64, _> = match self.connection.session().await {
            Ok(session) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(session).await,
            Err(_) => return None,
        };
        counted.ok().map(i64::unsigned_abs)
    }

    /// Returns about `count` rows, spread evenly in the order of the key. Returns the first rows if that
    /// takes longer than the statement timeout.
    ///
    /// # Errors
    /// If they cannot be had.
    pub async fn sample(&mut self, count: u32) -> Result<Vec<LegacyToken>, SourceError> {
        let rows = self.count_rows().await.unwrap_or_default();
        let step = (rows / u64::from(count)).max(1);
        let sql = every(&self.plan, step, count);
        let keys: Result<Vec<Option<String>>, _> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(self.connection.session().await?)
            .await;
        let page = match keys.map_err(|error| row_error(error, None)) {
            Ok(keys) => {
                let keys: Vec<SourceKey> = keys.into_iter().flatten().map(SourceKey::from).collect();
                self.rows(&keys).await?
            }
            Err(SourceError::Database(failure)) if failure.kind == FailureKind::Timeout => {
                self.page(None, None).await?
            }
            Err(error) => return Err(error),
        };
        let mut rows = page.map(|page| page.tokens).unwrap_or_default();
        rows.truncate(count as usize);
        Ok(rows)
    }
}

/// The keys of every `step`th row.
fn every(plan: &Plan, step: u64, count: u32) -> String {
    format!(
        "select key from (select {key} as key, pg_catalog.row_number() over (order by {order}) - 1 as number from {from}{filter})
                as numbered
         where number % {step} = 0 limit {count}",
        key = plan.key.text(),
        order = plan.key.order(),
        from = plan.from,
        filter = plan.filter(None),
    )
}
