//! Rows that a dry run remembers until it ends, so that it neither writes to `tokens` nor needs memory for
//! the whole table.

use super::{Ledger, LedgerError, Run, columns::column};
use crate::domain::{
    CurrentHolder, Decision, DestinationId, Item, LastOutcome, LedgerState, RunId, SourceKey, TokenState,
    Version,
};

impl Ledger {
    /// Adds the rows that this dry run remembers to what the ledger knows, so that it is what a real run
    /// would know by now.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn add_dry_run<'a>(
        &self,
        known: &mut LedgerState,
        run: &Run,
        keys: impl Iterator<Item = &'a SourceKey>,
        destinations: impl Iterator<Item = DestinationId>,
    ) -> Result<(), LedgerError> {
        let keys: Vec<&str> = keys.map(SourceKey::as_str).collect();
        let destinations: Vec<DestinationId> = destinations.collect();
        if keys.is_empty() && destinations.is_empty() {
            return Ok(());
        }
        let destinations = column(&destinations, |id| &id.as_bytes()[..]);
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"-- One index lookup for each, as in `lookup`.
                       select source_key as "source_key!", source_version, destination
                       from unnest($2::text[]) as asked (row_key) cross join lateral (
                              select * from dry_run_rows
                              where run_id = $1 and source_key = asked.row_key and destination is null offset 0
                       ) as outdated
                       union all
                       select source_key, source_version, destination
                       from unnest($3::bytea[]) as asked (place) cross join lateral (
                              select * from dry_run_rows where run_id = $1 and destination = asked.place offset 0
                       ) as sent
                       -- The newest last: it is the one that would be there.
                       order by source_version nulls first"#,
                    run.id,
                    &keys as &[&str],
                    &destinations as &[&[u8]],
                )
                .fetch_all(&self.pool)
            })
            .await?;
        for row in rows {
            let (key, version) = (SourceKey::from(row.source_key), Version::new(row.source_version));
            match row.destination.as_deref().and_then(DestinationId::from_slice) {
                Some(destination) => {
                    let incumbent = CurrentHolder::new(key, version, run.id);
                    known.incumbents.insert(destination, incumbent);
                }
                None => mark_outdated(known, key, run.id, version),
            }
        }
        Ok(())
    }

    /// Remembers rows that the source reported as outdated.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process ended the run.
    pub async fn remember_outdated(&self, run: &Run, outdated: &[Decision]) -> Result<(), LedgerError> {
        let rows = column(outdated, |decision| (&decision.key, decision.version, None));
        self.remember(run, &rows).await
    }

    /// Remembers rows that would be stored by now.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process ended the run.
    pub async fn remember_sent(&self, run: &Run, items: &[Item]) -> Result<(), LedgerError> {
        let rows = column(items, |item| {
            (&item.key, item.version, Some(&item.destination_id))
        });
        self.remember(run, &rows).await
    }

    async fn remember(
        &self,
        run: &Run,
        rows: &[(&SourceKey, Version, Option<&DestinationId>)],
    ) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = column(rows, |(key, ..)| key.as_str());
        let versions = column(rows, |(_, version, _)| version.get());
        let destinations = column(rows, |(.., id)| id.map(|id| &id.as_bytes()[..]));
        let done = self
            .with_retry(|| {
                sqlx::query!(
                    "insert into dry_run_rows (run_id, source_key, source_version, destination)
                     select runs.id, remembered.*
                     from runs, unnest($3::text[], $4::bigint[], $5::bytea[]) as remembered
                     where runs.id = $1 and runs.epoch = $2
                     on conflict (run_id, source_key) do update set
                            source_version = excluded.source_version, destination = excluded.destination",
                    run.id,
                    run.epoch,
                    &keys as &[&str],
                    &versions as &[Option<i64>],
                    &destinations as &[Option<&[u8]>],
                )
                .execute(&self.pool)
            })
            .await?;
        self.expect_ours(run, done.rows_affected() > 0).await
    }
}

/// Marks a row as if this run had recorded it in `tokens`: a stored row stays stored, an unknown one is
/// superseded.
fn mark_outdated(known: &mut LedgerState, key: SourceKey, run: RunId, version: Version) {
    let unknown = LastOutcome {
        state: TokenState::Superseded,
        run,
        fingerprint: None,
        version,
        batch: None,
        since: None,
        outdated: None,
        destination: None,
    };
    known.rows.entry(key).or_insert(unknown).outdated = Some((run, version));
}
