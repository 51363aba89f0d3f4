//! Cache of resolved login IDs.

use std::{collections::HashMap, time::Duration};

use super::{Ledger, LedgerError, columns::column};
use crate::secret::Fingerprint;

impl Ledger {
    /// Returns the users of these login IDs that were found within the last `remember`.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn known_users(
        &self,
        digests: &[Fingerprint],
        remember: Duration,
    ) -> Result<HashMap<Fingerprint, String>, LedgerError> {
        if digests.is_empty() {
            return Ok(HashMap::new());
        }
        let asked = column(digests, |digest| &digest.as_bytes()[..]);
        let rows = self
            .with_retry(|| {
                sqlx::query!(
                    r#"-- One index lookup for each, as in `lookup`.
                       select login_digest as "login_digest!", user_id as "user_id!"
                       from unnest($1::bytea[]) as asked (digest) cross join lateral (
                              select * from known_users
                              where login_digest = asked.digest
                                and resolved_at > now() - make_interval(secs => $2) offset 0
                       ) as found"#,
                    &asked as &[&[u8]],
                    remember.as_secs_f64(),
                )
                .fetch_all(&self.pool)
            })
            .await?;
        let users = rows.into_iter().filter_map(|row| {
            let digest = Fingerprint::from_slice(&row.login_digest)?;
            Some((digest, row.user_id))
        });
        Ok(users.collect())
    }

    /// Stores the users of login IDs.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn remember_users(&self, found: &[(Fingerprint, String)]) -> Result<(), LedgerError> {
        if found.is_empty() {
            return Ok(());
        }
        // Sorted, so that two runs that store the same users cannot deadlock.
        let mut found: Vec<_> = found.iter().collect();
        found.sort_unstable();
        let digests = column(&found, |(digest, _)| &digest.as_bytes()[..]);
        let users = column(&found, |(_, user)| user.as_str());
        self.with_retry(|| {
            sqlx::query!(
                "insert into known_users (login_digest, user_id)
                 select * from unnest($1::bytea[], $2::text[])
                 on conflict (login_digest) do update set user_id = excluded.user_id, resolved_at = now()",
                &digests as &[&[u8]],
                &users as &[&str],
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }

    /// Forgets the users whose tokens the API rejected with one of these codes: the API does not know them
    /// any more, and their login IDs may belong to other users.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn forget_refused_users(&self, codes: &[&str]) -> Result<(), LedgerError> {
        self.with_retry(|| {
            sqlx::query!(
                "delete from known_users where user_id in (
                     select user_id from token_rows where migration = $1 and state = 'failed' and error_code = any ($2::text[]))",
                self.migration,
                codes as &[&str],
            )
            .execute(&self.pool)
        })
        .await?;
        Ok(())
    }
}
