//! Rows of which the database cannot decrypt one: a whole page fails then, so they are read one by one, and what cannot be
//! decrypted is told apart from the rest of its row.

use sqlx::AssertSqlSafe;

use super::{
    Page, Source, SourceError, decode,
    reader::{PAGE_BYTES, Rows, is_about_decrypting, not_a_key, row_error},
};
use crate::{
    config::Field,
    model::{LegacyToken, Sealed, SecretTexts, SourceKey, WhyNot},
};

/// What may be encrypted so that the database opens it, and stays out of the token if it cannot.
const SECRETS: [Field; 3] = [Field::AccessToken, Field::RefreshToken, Field::IdToken];

/// Rows that are read so before a whole page is tried again.
const AT_ONCE: u32 = 100;

impl Source {
    /// The rows that could not be had as a page. `failed` is why; it is given back if it was not about decrypting a token.
    pub(super) async fn one_by_one(
        &mut self,
        wanted: Rows<'_>,
        failed: SourceError,
    ) -> Result<Option<Page>, SourceError> {
        let keys = match wanted {
            Rows::Among(keys) => keys.to_vec(),
            Rows::After(after) => self.keys(after).await?,
        };
        let (mut tokens, mut size, mut last) = (Vec::new(), 0, None);
        for key in keys {
            let Some((token, bytes)) = self.one(&key).await? else {
                // Gone meanwhile.
                continue;
            };
            tokens.push(token);
            size += bytes;
            last = Some(key);
            if size >= PAGE_BYTES && matches!(wanted, Rows::After(_)) {
                break;
            }
        }
        match last {
            Some(last) => Ok(Some(self.turn(tokens, last))),
            None if matches!(wanted, Rows::Among(_)) => Ok(None),
            // Some row failed, and now there is none: another look will tell more.
            None => Err(failed),
        }
    }

    async fn keys(&mut self, after: Option<&SourceKey>) -> Result<Vec<SourceKey>, SourceError> {
        let sql = self.plan.keys(after.is_some(), AT_ONCE);
        let mut query = sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql));
        if let Some(after) = after {
            query = query.bind(after.as_str());
        }
        let keys = query.fetch_all(self.session().await?).await;
        let keys = keys.map_err(|error| row_error(error, after))?;
        keys.into_iter()
            .map(|key| {
                key.map(SourceKey::from)
                    .ok_or_else(|| not_a_key(after, "has none"))
            })
            .collect()
    }

    /// A row, without the tokens that cannot be decrypted.
    async fn one(&mut self, key: &SourceKey) -> Result<Option<(LegacyToken, usize)>, SourceError> {
        let failed = match self.row_without(key, &[]).await {
            Err(error) if is_undecryptable(&error) => error,
            read => return read,
        };
        let mut sealed = Vec::new();
        for field in SECRETS {
            if self.plan.column(field).is_none() {
                continue;
            }
            let others: Vec<Field> = SECRETS.into_iter().filter(|&other| other != field).collect();
            match self.row_without(key, &others).await {
                Err(error) if is_undecryptable(&error) => sealed.push(field),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        let Some(first) = sealed.first() else {
            return Err(failed);
        };
        let row = match self.row_without(key, &sealed).await {
            // It fails without them, too: it is another field that cannot be had.
            Err(error) if is_undecryptable(&error) => return Err(failed),
            row => row?,
        };
        Ok(row.map(|(mut token, size)| {
            token.sealed.get_or_insert(Sealed {
                field: first.name(),
                why: WhyNot::ByDatabase,
            });
            (token, size)
        }))
    }

    async fn row_without(
        &mut self,
        key: &SourceKey,
        fields: &[Field],
    ) -> Result<Option<(LegacyToken, usize)>, SourceError> {
        let sql = self.plan.row_without(fields);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(key.as_str().to_owned());
        let row = query
            .fetch_optional(self.session().await?)
            .await
            .map_err(|error| row_error(error, Some(key)))?;
        let mut secrets = SecretTexts::default();
        row.map(|row| {
            decode::token(
                &row,
                key.clone(),
                &self.plan.columns,
                &mut self.common,
                &mut secrets,
            )
        })
        .transpose()
        .map_err(|error| row_error(error, Some(key)))
    }
}

fn is_undecryptable(error: &SourceError) -> bool {
    matches!(error, SourceError::Rows { source, .. } if is_about_decrypting(source))
}
