//! Forgotten tokens: tokens that were sent but are unknown to a ledger that was restored or is older than
//! scopes.
//!
//! Reading back proves that a batch is stored only if its token cannot have been at its destination before,
//! and the ledger tells whether it can. A ledger that was restored cannot tell, and a token that it calls
//! stored may have been replaced. A table lists the migrations concerned until a run over all their rows has
//! completed and has uploaded every difference.

use tracing::warn;

use super::{Ledger, LedgerError, Run, columns::column};
use crate::{
    domain::{Adopted, Forgotten},
    postgres::Failure,
};

impl Ledger {
    /// Returns the destinations about which this ledger may know too little.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn forgotten(&self) -> Result<Forgotten, LedgerError> {
        let found = self
            .with_retry(|| {
                sqlx::query!(
                    "select bool_or(extent = 'anything' and migration = $1) as own, bool_or(extent = 'anything') as any
                     from forgotten_tokens",
                    self.migration,
                )
                .fetch_one(&self.pool)
            })
            .await?;
        Ok(match (found.own, found.any) {
            (Some(true), _) => Forgotten::Anything,
            (_, Some(true)) => Forgotten::Elsewhere,
            (_, Some(false)) => Forgotten::Scoped,
            (_, None) => Forgotten::Nothing,
        })
    }

    /// Records for all migrations that the ledger went back in time, and returns the error. If the record
    /// fails, for example on a read-only replica, the writable database is not the one that went back.
    pub(super) async fn went_back(&self) -> LedgerError {
        let noted = sqlx::query!(
            "insert into forgotten_tokens (migration, extent)
             select migration, 'anything' from runs union select $1, 'anything'
             on conflict (migration) do update set extent = excluded.extent, since = now()",
            self.migration,
        )
        .execute(&self.pool)
        .await;
        if let Err(error) = noted {
            let failure = Failure::from(error);
            warn!(
                reason = %failure,
                "the ledger went back in time, and that could not be recorded in it; run `tokenferry verify` after the next `tokenferry migrate`"
            );
        }
        LedgerError::WentBack
    }

    /// Records that a run over all rows has completed: tokens that were forgotten before it started are known
    /// again.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn remember_all(&self, run: &Run) -> Result<(), LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "delete from forgotten_tokens using runs
                 where forgotten_tokens.migration = $1 and runs.id = $2 and since < started_at",
                self.migration,
                run.id,
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }

    /// Updates the destination IDs of rows that an earlier version stored under other IDs.
    ///
    /// # Errors
    /// If the database stays unreachable, or another process has taken the run over.
    pub async fn adopt(&self, run: &Run, rows: &[Adopted]) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = column(rows, |row| row.key.as_str());
        let ids = column(rows, |row| &row.destination.as_bytes()[..]);
        self.move_to_rows(&keys).await?;
        self.token_filters
            .add_row_destinations(rows.iter().map(|row| row.destination));
        let found = self
            .with_retry(|| {
                sqlx::query_scalar!(
                    "with run as (
                         select id from runs where id = $2 and epoch = $5
                     ), adopted as (
                         update token_rows set destination = adopted.place
                         from run, unnest($3::text[], $4::bytea[]) as adopted (row_key, place)
                         where token_rows.migration = $1 and source_key = adopted.row_key and token_rows.state = 'committed'
                     )
                     select id from run",
                    self.migration,
                    run.id,
                    &keys as &[&str],
                    &ids as &[&[u8]],
                    run.epoch,
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        self.expect_ours(run, found.is_some()).await
    }
}
