//! A fallback for pages with a row on whose values the database fails. The page is bisected until each
//! failing row stands alone; then its failing fields are found one by one.

use sqlx::AssertSqlSafe;

use super::{
    Page, Source, SourceError, decode,
    error::{not_a_key, row_error},
    source::{Between, PAGE_BYTES, Rows},
};
use crate::{
    config::{Expression, Field},
    domain::{DecryptError, DecryptFailure, LegacyToken, SourceKey, Unreadable, UnreadableCause},
    postgres::Failure,
};

/// The most rows that are bisected before a whole page is tried again.
const AT_ONCE: u32 = 512;

impl Source {
    /// Reads the rows of a page one part at a time, after a value of some row made it fail with `failed`.
    pub(super) async fn page_in_parts(
        &mut self,
        wanted: Rows<'_>,
        failed: SourceError,
    ) -> Result<Option<Page>, SourceError> {
        let keys = match wanted {
            Rows::Among(keys) => keys.to_vec(),
            Rows::Between(between) => self.keys(between).await?,
        };
        let (mut tokens, mut size) = (Vec::new(), 0);
        // The next part is the last element.
        let mut parts = vec![keys.as_slice()];
        while let Some(part) = parts.pop() {
            match self.fetch(Rows::Among(part)).await {
                Ok(found) => {
                    tokens.extend(found.tokens);
                    size += found.bytes;
                }
                Err(error) if error.is_about_a_value() => match part {
                    // The ledger may hold keys of another `source.key`, and people may ask for anything.
                    [key] => {
                        if matches!(wanted, Rows::Between(_)) || self.is_key(key).await? {
                            tokens.extend(self.without_bad_fields(key, error).await?);
                        }
                    }
                    _ => {
                        let (before, behind) = part.split_at(part.len() / 2);
                        parts.extend([behind, before]);
                    }
                },
                Err(error) => return Err(error),
            }
            // Rows that were asked for by their keys would not be asked for again.
            if size >= PAGE_BYTES && matches!(wanted, Rows::Between(_)) {
                break;
            }
        }
        match self.page_of(tokens, None) {
            // Some row failed, and now there is none: another look will tell more.
            None if matches!(wanted, Rows::Between(_)) => Err(failed),
            page => Ok(page),
        }
    }

    async fn keys(&mut self, between: Between<'_>) -> Result<Vec<SourceKey>, SourceError> {
        let after = between.after;
        let sql = self.plan.keys(between.bounds(), self.limit.min(AT_ONCE));
        let query = sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql));
        let query = between.keys().fold(query, |query, key| query.bind(key.as_str()));
        let keys = query.fetch_all(self.connection.session().await?).await;
        let keys = keys.map_err(|error| match row_error(error, after) {
            SourceError::Rows { source, .. } if source.sqlstate.as_deref() == Some(NOT_IN_ENCODING) => {
                not_a_key(after, "or one soon after it has a key that is not valid text")
            }
            error => error,
        })?;
        keys.into_iter()
            .map(|key| {
                key.map(SourceKey::from)
                    .ok_or_else(|| not_a_key(after, "has none"))
            })
            .collect()
    }

    /// Returns false if the text is of another type than the key, so that no row has it.
    async fn is_key(&mut self, text: &SourceKey) -> Result<bool, SourceError> {
        let typed = sqlx::query(AssertSqlSafe(self.plan.typed_key()))
            .bind(text.as_str())
            .fetch_one(self.connection.session().await?)
            .await;
        match typed.map_err(|error| row_error(error, None)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_about_a_value() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a failing row without the fields that make it fail.
    async fn without_bad_fields(
        &mut self,
        key: &SourceKey,
        failed: SourceError,
    ) -> Result<Option<LegacyToken>, SourceError> {
        let fields: Vec<Field> = self.plan.columns.iter().map(|column| column.field).collect();
        let mut bad: Vec<(Field, Failure)> = Vec::new();
        for &field in &fields {
            let others: Vec<Field> = fields.iter().copied().filter(|&other| other != field).collect();
            match self.row_without(key, &others).await {
                Err(SourceError::Rows { source, .. }) if source.is_about_a_value() => {
                    bad.push((field, source));
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if bad.is_empty() {
            return Err(failed);
        }
        let without: Vec<Field> = bad.iter().map(|(field, _)| *field).collect();
        let row = match self.row_without(key, &without).await {
            // No field is to blame: it is the condition, or the query.
            Err(error) if error.is_about_a_value() => return Err(failed),
            row => row?,
        };
        Ok(row.map(|mut token| {
            for (field, failure) in &bad {
                self.mark_unreadable(*field, failure, &mut token);
            }
            token
        }))
    }

    /// Notes in the token why it lacks a field.
    fn mark_unreadable(&self, field: Field, failure: &Failure, token: &mut LegacyToken) {
        if self.is_decrypted(field) && is_about_decrypting(failure) {
            token.sealed.get_or_insert(DecryptError {
                field: field.name(),
                why: DecryptFailure::ByDatabase,
            });
            return;
        }
        token.note_unreadable(Unreadable {
            field: field.name(),
            decides_place: field.decides_place(),
            cause: UnreadableCause::DatabaseError,
        });
    }

    /// Tells whether the database may have to decrypt it: a token that an expression computes.
    fn is_decrypted(&self, field: Field) -> bool {
        let is_token = field.is_token();
        let mapping = self.connection.settings.columns.get(&field);
        is_token && mapping.is_some_and(|mapping| matches!(mapping.expression, Expression::Sql(_)))
    }

    async fn row_without(
        &mut self,
        key: &SourceKey,
        fields: &[Field],
    ) -> Result<Option<LegacyToken>, SourceError> {
        let sql = self.plan.row_without(fields);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(key.as_str().to_owned());
        let row = query
            .fetch_optional(self.connection.session().await?)
            .await
            .map_err(|error| row_error(error, Some(key)))?;
        let token = row.map(|row| decode::token(&row, key.clone(), &self.plan.columns, &mut self.common));
        token.transpose().map_err(|error| row_error(error, Some(key)))
    }
}

/// The SQLSTATE of bytes that are no text in the encoding of database or client.
const NOT_IN_ENCODING: &str = "22021";

/// Tells whether the database could not decrypt a value: pgcrypto's own errors, and bytes that are not text.
fn is_about_decrypting(failure: &Failure) -> bool {
    failure
        .sqlstate
        .as_deref()
        .is_some_and(|state| state.starts_with("39") || matches!(state, NOT_IN_ENCODING | "22023"))
}
