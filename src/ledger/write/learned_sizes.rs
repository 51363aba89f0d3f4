//! Learned sizes: the batches that an API has accepted and rejected, for the runs of a week.

use super::{Ledger, LedgerError, columns::column};
use crate::domain::{BatchSize, LearnedSizes, Subject};

impl Ledger {
    /// Returns what was learned within a week about the batches that the target accepts.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn learned_sizes(&self, subject: Subject) -> Result<Option<LearnedSizes>, LedgerError> {
        let Some(target) = self.target.as_deref() else {
            return Ok(None);
        };
        let row = self
            .with_retry(|| {
                sqlx::query!(
                    "select accepted_tokens, accepted_bytes, rejected_tokens, rejected_bytes from learned_sizes
                     where api = $1 and subject = $2 and learned_at > now() - interval '7 days'",
                    target,
                    subject.as_str(),
                )
                .fetch_optional(&self.pool)
            })
            .await?;
        Ok(row.map(|row| LearnedSizes {
            accepted: size(row.accepted_tokens, row.accepted_bytes),
            rejected: row
                .rejected_tokens
                .into_iter()
                .zip(row.rejected_bytes)
                .map(|(tokens, bytes)| size(tokens, bytes))
                .collect(),
        }))
    }

    /// Stores what was learned about the batches that the target accepts. A week after a rejection it is
    /// forgotten, so that larger batches are tried again.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn remember_sizes(&self, subject: Subject, learned: &LearnedSizes) -> Result<(), LedgerError> {
        let Some(target) = self.target.as_deref() else {
            return Ok(());
        };
        let tokens = column(&learned.rejected, |size| number(size.tokens));
        let bytes = column(&learned.rejected, |size| number(size.bytes));
        self.with_retry(|| {
            sqlx::query!(
                "insert into learned_sizes as known (api, subject, accepted_tokens, accepted_bytes, rejected_tokens, rejected_bytes)
                 values ($1, $2, $3, $4, $5, $6)
                 on conflict (api, subject) do update set
                        accepted_tokens = excluded.accepted_tokens, accepted_bytes = excluded.accepted_bytes,
                        rejected_tokens = excluded.rejected_tokens, rejected_bytes = excluded.rejected_bytes,
                        learned_at = case when known.rejected_tokens = excluded.rejected_tokens
                                           and known.rejected_bytes = excluded.rejected_bytes
                                           and known.learned_at > now() - interval '7 days'
                                          then known.learned_at else now() end",
                target,
                subject.as_str(),
                number(learned.accepted.tokens),
                number(learned.accepted.bytes),
                &tokens,
                &bytes,
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }
}

fn size(tokens: i64, bytes: i64) -> BatchSize {
    let number = |value: i64| usize::try_from(value).unwrap_or(0);
    BatchSize {
        tokens: number(tokens),
        bytes: number(bytes),
    }
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
