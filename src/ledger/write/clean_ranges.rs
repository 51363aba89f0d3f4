//! Clean ranges: key ranges of the source of which every row is stored as it was read.
//!
//! A run that may send or delete tokens takes them out of the ledger before it does anything else, and a run
//! over all rows puts the ones it found back once it has completed. So ranges are believed only if nothing
//! was sent since they were found.

use super::{Ledger, LedgerError, Run, columns::column};
use crate::{
    domain::{KeyRange, SourceKey},
    secret::Fingerprint,
};

impl Ledger {
    /// Takes the ranges of this migration out of the ledger, in the order of their keys.
    ///
    /// # Errors
    /// If the database stays unreachable. Nothing may be sent then.
    pub async fn take_clean_ranges(&self) -> Result<Vec<KeyRange<Fingerprint>>, LedgerError> {
        let mut taken = self
            .with_retry(|| {
                sqlx::query!(
                    "delete from clean_ranges where migration = $1
                     returning position, after_key, until_key, digest",
                    self.migration,
                )
                .fetch_all(&self.pool)
            })
            .await?;
        taken.sort_by_key(|range| range.position);
        taken
            .into_iter()
            .map(|range| {
                let digest = Fingerprint::from_slice(&range.digest).ok_or_else(|| {
                    LedgerError::Contradiction("a range's digest has another length".to_owned())
                })?;
                Ok(KeyRange {
                    after: range.after_key.map(SourceKey::from),
                    until: SourceKey::from(range.until_key),
                    digest,
                })
            })
            .collect()
    }

    /// Stores the clean ranges of a run over all rows that has completed; none if it left a token of unknown
    /// outcome.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn keep_clean_ranges(
        &self,
        run: &Run,
        ranges: &[KeyRange<Fingerprint>],
    ) -> Result<(), LedgerError> {
        let after = column(ranges, |range| range.after.as_ref().map(SourceKey::as_str));
        let until = column(ranges, |range| range.until.as_str());
        let digests = column(ranges, |range| &range.digest.as_bytes()[..]);
        self.with_retry(|| {
            sqlx::query!(
                "insert into clean_ranges (migration, position, run_id, after_key, until_key, digest)
                 select $1, position::integer, runs.id, after_key, until_key, digest
                 from runs, unnest($4::text[], $5::text[], $6::bytea[]) with ordinality as ranges (after_key, until_key, digest, position)
                 where runs.id = $2 and runs.epoch = $3 and runs.status in ('completed', 'completed_with_failures')
                   and not exists (select from batches where run_id = $2 and state = 'in_flight')
                   and not exists (select from former_places where migration = $1 and run_id = $2 and unresolved_batch is not null)
                 on conflict (migration, position) do nothing",
                self.migration,
                run.id,
                run.epoch,
                &after as &[Option<&str>],
                &until as &[&str],
                &digests as &[&[u8]],
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }
}
