//! Forgotten tokens: sent, and unknown to a ledger that was restored or is older than scopes.
//!
//! Reading back proves a batch only by what cannot have been at its destination before, and that is told by the ledger. One that was
//! restored to an earlier state cannot tell, and what it calls stored may be something else by now. The migrations that it concerns stand in a table until a run over all rows of theirs
//! has completed, and so has written anew what it found different.

use tracing::warn;

use super::{Run, columns::column};
use crate::{
    domain::{Adopted, Forgotten},
    ledger::{Ledger, LedgerError},
    postgres::Failure,
};

impl Ledger {
    /// Of which destinations this ledger may know too little.
    ///
    /// # Errors
    /// If the database stays away.
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

    /// The error of a ledger that went back in time, once that is noted in it, for whatever migration. Where it cannot be noted, as on
    /// a replica that only reads, the one that can be written to was not the one that went back.
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
                "that the ledger went back in time could not be noted in it: run `tokenferry verify` after the next `tokenferry migrate`"
            );
        }
        LedgerError::WentBack
    }

    /// A run over all rows of the migration has completed: what had been forgotten before it began is known again.
    ///
    /// # Errors
    /// If the database stays away.
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

    /// Rows that are stored where they were sent, by a version that knew the place under another ID.
    ///
    /// # Errors
    /// If the database stays away, or another process has taken the run over.
    pub async fn adopt(&self, run: &Run, rows: &[Adopted]) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = column(rows, |row| row.key.as_str());
        let ids = column(rows, |row| &row.destination.as_bytes()[..]);
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
