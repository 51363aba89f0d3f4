//! Digests of key ranges, taken by the database. A range with the digest of rows that are stored as they are
//! need not be read again.
//!
//! The database hashes the very text that it would send for each row. So a digest covers every column that is
//! mapped, whatever the row's version says, and is the same only if the rows are. It is compared with that of
//! the rows as they were read by an earlier run, not with a digest of a moment before or after.

use sqlx::AssertSqlSafe;
use tracing::Instrument;

use super::{Source, SourceError, error::row_error, source::Between};
use crate::{
    domain::{KeyRange, RowsDigest, SourceKey},
    postgres::FailureKind,
};

impl Source {
    /// Selects a hash with each row, for the digests of pages. The seed keeps digests from telling anything
    /// to those who do not have it.
    pub fn hash_rows(&mut self, seed: i64) {
        self.plan.hash_rows(seed);
    }

    /// The text of everything that decides how a row is read.
    #[must_use]
    pub fn description(&self) -> String {
        self.plan.description()
    }

    /// Returns the digest of the rows between two keys; `None` if a value of one of them makes the query
    /// fail, or it takes too long: reading goes in smaller steps. Reconnects like [`page`](Self::page).
    ///
    /// # Errors
    /// If the database stays away, or the rows cannot be had.
    pub async fn digest(
        &mut self,
        after: Option<&SourceKey>,
        until: &SourceKey,
        seed: i64,
    ) -> Result<Option<RowsDigest>, SourceError> {
        let mut outage = self.outage();
        loop {
            match self.digest_at_once(after, until, seed).await {
                Ok(digest) => {
                    self.record_recovery(&outage);
                    return Ok(digest);
                }
                Err(SourceError::Database(failure)) if failure.kind == FailureKind::Timeout => {
                    return Ok(None);
                }
                Err(SourceError::Database(failure)) => {
                    outage.wait_out(failure).instrument(self.span.clone()).await?;
                }
                Err(error) if error.is_about_a_value() => return Ok(None),
                Err(error) => return Err(error),
            }
            self.disconnect();
        }
    }

    async fn digest_at_once(
        &mut self,
        after: Option<&SourceKey>,
        until: &SourceKey,
        seed: i64,
    ) -> Result<Option<RowsDigest>, SourceError> {
        let between = Between {
            after,
            until: Some(until),
        };
        let sql = self.plan.digest(between.bounds(), seed);
        let query = sqlx::query_as::<_, (i64, String)>(AssertSqlSafe(sql));
        let query = between.keys().fold(query, |query, key| query.bind(key.as_str()));
        let found = query.fetch_one(self.connection.session().await?).await;
        let (rows, sum) = found.map_err(|error| row_error(error, after))?;
        self.expect_same_shape().await?;
        // A sum that is no number is no digest: the rows are read.
        Ok(sum.parse().ok().map(|sum| RowsDigest { rows, sum }))
    }

    /// Returns the positions of those ranges that have one of the keys.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn ranges_with<D>(
        &mut self,
        ranges: &[KeyRange<D>],
        keys: &[SourceKey],
    ) -> Result<Vec<usize>, SourceError> {
        let texts = |keys: &[SourceKey]| -> Vec<String> { keys.iter().map(ToString::to_string).collect() };
        let after: Vec<Option<String>> = ranges
            .iter()
            .map(|range| range.after.as_ref().map(ToString::to_string))
            .collect();
        let until: Vec<String> = ranges.iter().map(|range| range.until.to_string()).collect();
        let found: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(self.plan.ranges_with()))
            .bind(after)
            .bind(until)
            .bind(texts(keys))
            .fetch_all(self.connection.session().await?)
            .await
            .map_err(|error| row_error(error, None))?;
        // Ordinality counts from 1.
        Ok(found
            .into_iter()
            .filter_map(|position| usize::try_from(position - 1).ok())
            .collect())
    }
}
