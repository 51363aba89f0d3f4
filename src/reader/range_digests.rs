//! Digests of key ranges, taken by the database. A range with the digest of rows that are stored as they are
//! need not be read again.
//!
//! The database hashes the very values that it would send for each row. So a digest covers every column that
//! is mapped, whatever the row's version says, and is the same only if the rows are. It is compared with that
//! of the rows as they were read by an earlier run, not with a digest of a moment before or after.

use sqlx::AssertSqlSafe;
use tracing::Instrument;

use super::{Source, SourceError, error::row_error};
use crate::{
    domain::{KeyRange, RowsDigest, SourceKey},
    postgres::FailureKind,
};

/// Ranges whose digests one query computes.
const RANGES_AT_ONCE: usize = 64;

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

    /// Returns the digests of the rows of these ranges, each `None` if a value of one of its rows makes the
    /// query fail, or the query takes too long: reading goes in smaller steps. Reconnects like
    /// [`page`](Self::page).
    ///
    /// # Errors
    /// If the database stays away, or the rows cannot be had.
    pub async fn digests<D>(
        &mut self,
        ranges: &[KeyRange<D>],
        seed: i64,
    ) -> Result<Vec<Option<RowsDigest>>, SourceError> {
        let mut digests = Vec::with_capacity(ranges.len());
        // The next part is the last element.
        let mut parts: Vec<&[KeyRange<D>]> = ranges.chunks(RANGES_AT_ONCE).rev().collect();
        while let Some(part) = parts.pop() {
            match (self.digests_of(part, seed).await?, part) {
                (Some(found), _) => digests.extend(found),
                (None, [_]) => digests.push(None),
                (None, _) => {
                    let (before, behind) = part.split_at(part.len() / 2);
                    parts.extend([behind, before]);
                }
            }
        }
        Ok(digests)
    }

    /// Returns `None` if the query fails on a value or takes too long.
    async fn digests_of<D>(
        &mut self,
        ranges: &[KeyRange<D>],
        seed: i64,
    ) -> Result<Option<Vec<Option<RowsDigest>>>, SourceError> {
        let mut outage = self.outage();
        loop {
            match self.digests_at_once(ranges, seed).await {
                Ok(digests) => {
                    self.record_recovery(&outage);
                    return Ok(Some(digests));
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

    /// Returns false if there is no row behind this key; true if that cannot be told.
    pub async fn may_have_rows_after(&mut self, key: &SourceKey) -> bool {
        let sql = format!(
            "select exists (select from {}{})",
            self.plan.from,
            self.plan.filter(Some(self.plan.is_after("$1")))
        );
        let Ok(session) = self.connection.session().await else {
            return true;
        };
        let found = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(key.as_str())
            .fetch_one(session)
            .await;
        found.unwrap_or(true)
    }

    async fn digests_at_once<D>(
        &mut self,
        ranges: &[KeyRange<D>],
        seed: i64,
    ) -> Result<Vec<Option<RowsDigest>>, SourceError> {
        let (after, until) = bounds(ranges);
        let found: Vec<(i64, String)> = sqlx::query_as(AssertSqlSafe(self.plan.digests(seed)))
            .bind(after)
            .bind(until)
            .fetch_all(self.connection.session().await?)
            .await
            .map_err(|error| row_error(error, ranges.first().and_then(|range| range.after.as_ref())))?;
        self.expect_same_shape().await?;
        let digest = |(rows, sum): (i64, String)| {
            // A sum that is no number is no digest: the rows are read.
            Some(RowsDigest {
                rows,
                sum: sum.parse().ok()?,
            })
        };
        Ok(found.into_iter().map(digest).collect())
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
        let (after, until) = bounds(ranges);
        let keys: Vec<&str> = keys.iter().map(SourceKey::as_str).collect();
        let found: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(self.plan.ranges_with()))
            .bind(after)
            .bind(until)
            .bind(keys)
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

/// The keys before these ranges, and their last keys.
fn bounds<D>(ranges: &[KeyRange<D>]) -> (Vec<Option<&str>>, Vec<&str>) {
    ranges
        .iter()
        .map(|range| {
            let after = range.after.as_ref().map(SourceKey::as_str);
            (after, range.until.as_str())
        })
        .unzip()
}
