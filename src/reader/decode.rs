//! Decodes a row into a token. Nothing is judged here; what cannot be read is marked as such.

use std::str;

use sqlx::{Row, ValueRef, postgres::PgRow};

use super::{
    column_type::Form,
    field_text::{FieldText, NoText, OpenedValues},
    interner::Interner,
    plan::Column,
    scopes,
    times::{expiry, expiry_after, expiry_at, version, version_at},
    value_limit::LARGEST_VALUE,
};
use crate::{
    config::Field,
    domain::{DecryptError, Expiry, LegacyToken, Login, LoginId, SourceKey, Unreadable, UnreadableCause},
    secret::{FrozenArena, PendingSecret, SecretArena},
};

/// The key is the first column; `None` if it is null.
pub(super) fn key(row: &PgRow) -> Result<Option<&str>, sqlx::Error> {
    value(row, 0)?.map(|bytes| text(0, bytes)).transpose()
}

/// Rows that are decoded one after the other into one arena. Their tokens lack the secrets until it is
/// frozen, so they leave only by [`finish`](Self::finish).
pub(super) struct RowDecoder {
    tokens: Vec<LegacyToken>,
    /// The secrets of each token.
    pending: Vec<PendingSecrets>,
    arena: SecretArena,
    /// The bytes of text in all rows.
    bytes: usize,
}

impl RowDecoder {
    pub(super) fn new(rows: usize, arena: SecretArena) -> Self {
        Self {
            tokens: Vec::with_capacity(rows),
            pending: Vec::with_capacity(rows),
            arena,
            bytes: 0,
        }
    }

    /// Decodes one row more.
    pub(super) fn push(
        &mut self,
        row: &PgRow,
        key: SourceKey,
        columns: &[Column],
        interner: &mut Interner,
    ) -> Result<(), sqlx::Error> {
        let (token, pending, bytes) = decode(row, key, columns, interner, &mut self.arena)?;
        self.tokens.push(token);
        self.pending.push(pending);
        self.bytes += bytes;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn secret_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Returns the key of the last row.
    pub(super) fn last_key(&self) -> Option<&SourceKey> {
        self.tokens.last().map(|token| &token.key)
    }

    /// Returns the tokens with their secrets.
    pub(super) fn finish(mut self) -> Vec<LegacyToken> {
        let frozen = self.arena.freeze();
        for (token, pending) in self.tokens.iter_mut().zip(self.pending) {
            pending.complete(token, &frozen);
        }
        self.tokens
    }
}

/// Decodes one row by itself.
pub(super) fn token(
    row: &PgRow,
    key: SourceKey,
    columns: &[Column],
    interner: &mut Interner,
) -> Result<LegacyToken, sqlx::Error> {
    let mut arena = SecretArena::default();
    let (mut token, pending, _) = decode(row, key, columns, interner, &mut arena)?;
    pending.complete(&mut token, &arena.freeze());
    Ok(token)
}

/// The secrets of a token whose arena is not frozen yet.
#[derive(Default)]
struct PendingSecrets {
    access: Option<PendingSecret>,
    refresh: Option<PendingSecret>,
    id: Option<PendingSecret>,
}

impl PendingSecrets {
    fn complete(self, token: &mut LegacyToken, frozen: &FrozenArena) {
        let secret = |pending: Option<PendingSecret>| pending.map(|pending| frozen.secret(pending));
        token.access_token = secret(self.access);
        token.refresh_token = secret(self.refresh);
        token.id_token = secret(self.id);
    }
}

/// The token of a row without its secrets, these, and the bytes of text in the row.
fn decode(
    row: &PgRow,
    key: SourceKey,
    columns: &[Column],
    interner: &mut Interner,
    arena: &mut SecretArena,
) -> Result<(LegacyToken, PendingSecrets, usize), sqlx::Error> {
    let mut token = LegacyToken::empty(key);
    let mut pending = PendingSecrets::default();
    let mut opened = OpenedValues::default();
    let mut size = token.key.as_str().len();
    let mut counted = 0;
    for column in columns {
        // Empty is how many schemas write "none".
        let Some(bytes) = value(row, column.position)?.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        // Fields of one document share it.
        if column.position > counted {
            counted = column.position;
            size += bytes.len();
        }
        if column.form == Form::Time {
            let time = time(column.position, bytes)?;
            match column.field {
                Field::AccessTokenExpiry => token.expiry = expiry_at(time),
                _ => token.version = version_at(time),
            }
            continue;
        }
        let text = match field_text(column, bytes, &mut opened)? {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(why) => {
                note(&mut token, column.field, why);
                continue;
            }
        };
        let text = text.as_str();
        match column.field {
            Field::App => token.app = Some(interner.name(text)),
            Field::UserId => token.user_id = Some(text.to_owned()),
            Field::LoginId => token.login = Login::Id(LoginId::from(text)),
            Field::TenantId => token.tenant_id = Some(text.to_owned()),
            Field::AccessToken => pending.access = Some(arena.add(text)),
            Field::RefreshToken => pending.refresh = Some(arena.add(text)),
            Field::IdToken => pending.id = Some(arena.add(text)),
            Field::AccessTokenExpiry => match &column.since {
                None => token.expiry = expiry(text),
                Some(since) => match point_in_time(row, since, &mut opened)? {
                    Ok(since) => token.expiry = expiry_after(since, text),
                    Err(why) => note(&mut token, column.field, why),
                },
            },
            Field::AccessTokenType => token.access_token_type = Some(interner.name(text)),
            Field::Scopes => {
                let separator = column.steps.separator;
                let read = |text: &str| match (separator, column.form) {
                    (Some(separator), _) => scopes::separated_by(text, separator),
                    (None, Form::Json) => scopes::of_json(text),
                    (None, _) => scopes::of_text(text),
                };
                token.scopes = interner.scopes(text, read);
            }
            Field::ExternalIdentifier => token.external_identifier = Some(text.to_owned()),
            Field::GrantedBy => token.granted_by = Some(text.to_owned()),
            Field::UpdatedAt => match version(text, column.form) {
                Some(version) => token.version = version,
                None => token.note_unreadable(unreadable(column.field, UnreadableCause::DatabaseError)),
            },
            Field::Provider => token.provider = Some(interner.name(text)),
        }
    }
    token.is_plain = opened.any_plain;
    Ok((token, pending, size))
}

/// The text of a field in a value that is not empty.
fn field_text<'c, 'r>(
    column: &'c Column,
    bytes: &'r [u8],
    opened: &mut OpenedValues<'c>,
) -> Result<Result<Option<FieldText<'r>>, NoText>, sqlx::Error> {
    if bytes.len() > LARGEST_VALUE {
        return Ok(Err(NoText::Unreadable(UnreadableCause::TooLarge)));
    }
    Ok(opened.text(column, text(column.position, bytes)?))
}

/// The time that a duration counts from.
fn point_in_time<'c>(
    row: &PgRow,
    column: &'c Column,
    opened: &mut OpenedValues<'c>,
) -> Result<Result<Expiry, NoText>, sqlx::Error> {
    let Some(bytes) = value(row, column.position)?.filter(|bytes| !bytes.is_empty()) else {
        return Ok(Ok(Expiry::Unknown));
    };
    if column.form == Form::Time {
        return Ok(Ok(expiry_at(time(column.position, bytes)?)));
    }
    let text = field_text(column, bytes, opened)?;
    Ok(text.map(|text| text.map_or(Expiry::Unknown, |text| expiry(text.as_str()))))
}

/// Notes why the token lacks a field.
fn note(token: &mut LegacyToken, field: Field, why: NoText) {
    match why {
        NoText::Sealed(why) => {
            let error = DecryptError {
                field: field.name(),
                why,
            };
            token.sealed.get_or_insert(error);
            if field.decides_place() {
                token.note_unreadable(unreadable(field, UnreadableCause::NotDecrypted(why)));
            }
        }
        NoText::Unreadable(cause) => token.note_unreadable(unreadable(field, cause)),
    }
}

fn unreadable(field: Field, cause: UnreadableCause) -> Unreadable {
    Unreadable {
        field: field.name(),
        decides_place: field.decides_place(),
        cause,
    }
}

/// A value as it travelled. That it is what the plan asked for was checked when the plan was made.
fn value(row: &PgRow, position: usize) -> Result<Option<&[u8]>, sqlx::Error> {
    let value = row.try_get_raw(position)?;
    if value.is_null() {
        return Ok(None);
    }
    value
        .as_bytes()
        .map(Some)
        .map_err(|source| undecodable(position, source))
}

fn text(position: usize, bytes: &[u8]) -> Result<&str, sqlx::Error> {
    str::from_utf8(bytes).map_err(|error| undecodable(position, error.into()))
}

/// Microseconds since 2000; infinities are the greatest and the least number.
fn time(position: usize, bytes: &[u8]) -> Result<i64, sqlx::Error> {
    bytes
        .try_into()
        .map(i64::from_be_bytes)
        .map_err(|error: std::array::TryFromSliceError| undecodable(position, error.into()))
}

fn undecodable(position: usize, source: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: position.to_string(),
        source,
    }
}
