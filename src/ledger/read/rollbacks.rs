//! Rollbacks, for reports.

use super::{LedgerError, LedgerReader};
use crate::{
    domain::{Rollback, RunId},
    ledger::upload::expect_upload,
};

impl LedgerReader {
    /// Returns the number of tokens per app that a rollback of this run would cover, most first.
    ///
    /// # Errors
    /// If the run uploads nothing or does not exist, or the database does not answer.
    pub async fn sent_by(&mut self, run: RunId) -> Result<Vec<(String, i64)>, LedgerError> {
        expect_upload(&mut self.connection, &self.migration, run).await??;
        let apps = sqlx::query!(
            r#"select app_id as "app_id!", count(*) as "count!"
               from tokens where migration = $1 and run_id = $2 and state = 'committed'
               group by app_id order by count(*) desc, app_id"#,
            self.migration,
            run,
        )
        .fetch_all(&mut self.connection)
        .await?;
        Ok(apps.into_iter().map(|row| (row.app_id, row.count)).collect())
    }

    /// Returns the outcomes of a rollback; `None` for any other run.
    pub(super) async fn rollback(&mut self, run: RunId) -> Result<Option<Rollback>, sqlx::Error> {
        sqlx::query_as!(
            Rollback,
            r#"select rolls_back as "of_run!", rehearsal as dry_run,
                      count(*) filter (where rollbacks.state in ('removed', 'deletable')) as "removed!",
                      count(*) filter (where rollbacks.state = 'gone') as "gone!",
                      count(*) filter (where rollbacks.state = 'refused') as "refused!"
               from runs left join rollbacks on run_id = id
               where id = $1 and rolls_back is not null
               group by id"#,
            run,
        )
        .fetch_optional(&mut self.connection)
        .await
    }
}
