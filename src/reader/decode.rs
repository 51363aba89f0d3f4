//! Decodes a row into a token. Nothing is judged here; what cannot be read is marked as such.

use std::{ops::RangeInclusive, str};

use chrono::DateTime;
use sqlx::{Row, ValueRef, postgres::PgRow};

use super::{
    interner::Interner,
    plan::{Column, Form},
    scopes,
    value_limit::LARGEST_VALUE,
};
use crate::{
    config::Field,
    decrypt::Wrapping,
    domain::{
        DecryptError, Expiry, LegacyToken, Login, LoginId, SourceKey, Unreadable, UnreadableCause, Version,
    },
    secret::{FrozenArena, PendingSecret, SecretArena},
};

/// From here on a number of seconds would be past the year 5000, so it is milliseconds (of 1973 and later).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// The year that many write for "never", in seconds since 1970.
const YEAR_9999: RangeInclusive<i64> = 253_370_764_800..=253_402_300_799;

/// 2000-01-01, from which the database counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

const MICROSECONDS: i64 = 1_000_000;

/// The key is the first column; `None` if it is null.
pub(super) fn key(row: &PgRow) -> Result<Option<&str>, sqlx::Error> {
    value(row, 0)?.map(|bytes| text(0, bytes)).transpose()
}

/// Rows that are decoded one after the other into one arena. Their tokens lack the secrets until it is frozen, so they
/// leave only by [`finish`](Self::finish).
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
    let (mut pending, mut sealed) = (PendingSecrets::default(), None);
    let mut secret = |column, text| secret(column, text, arena, &mut sealed);
    let mut size = token.key.as_str().len();
    for (position, column) in columns.iter().enumerate() {
        let position = position + 1;
        // Empty is how many schemas write "none".
        let Some(bytes) = value(row, position)?.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        size += bytes.len();
        if bytes.len() > LARGEST_VALUE {
            token.note_unreadable(unreadable(column.field, UnreadableCause::TooLarge));
            continue;
        }
        if column.form == Form::Time {
            let time = time(position, bytes)?;
            match column.field {
                Field::AccessTokenExpiry => token.expiry = expiry_at(time),
                _ => token.version = version_at(time),
            }
            continue;
        }
        let text = text(position, bytes)?;
        match column.field {
            Field::App => token.app = Some(interner.name(text)),
            Field::UserId => token.user_id = Some(text.to_owned()),
            Field::LoginId => token.login = Login::Id(LoginId::from(text)),
            Field::TenantId => token.tenant_id = Some(text.to_owned()),
            Field::AccessToken => pending.access = secret(column, text),
            Field::RefreshToken => pending.refresh = secret(column, text),
            Field::IdToken => pending.id = secret(column, text),
            Field::AccessTokenExpiry => token.expiry = expiry(text),
            Field::AccessTokenType => token.access_token_type = Some(interner.name(text)),
            Field::Scopes => {
                let read = match column.form {
                    Form::Json => scopes::of_json,
                    _ => scopes::of_text,
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
    token.sealed = sealed;
    Ok((token, pending, size))
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

/// The value, decrypted if it must be. The first that cannot be is noted. Costs microseconds a value, so it is done where
/// the row is at hand.
fn secret(
    column: &Column,
    text: &str,
    arena: &mut SecretArena,
    sealed: &mut Option<DecryptError>,
) -> Option<PendingSecret> {
    let Some(decryptor) = &column.decrypt else {
        return Some(arena.add(text));
    };
    let wrapping = match column.form {
        Form::Bytes => Wrapping::Bytes,
        _ => Wrapping::Text,
    };
    match decryptor.open(text, wrapping) {
        // Empty is how many programs encrypt "none".
        Ok(secret) => Some(secret.reveal())
            .filter(|text| !text.is_empty())
            .map(|text| arena.add(text)),
        Err(why) => {
            let field = column.field.name();
            sealed.get_or_insert(DecryptError { field, why });
            None
        }
    }
}

/// Epoch seconds or milliseconds, with or without a fraction, or a date with its time in RFC 3339.
fn expiry(text: &str) -> Expiry {
    let text = text.trim();
    if let Some(number) = split_number(text) {
        return match number {
            (0, _) => Expiry::Unknown,
            // The last is the greatest number of milliseconds there is.
            (-1, 0) | (i64::MAX, _) => Expiry::Never,
            // The end of time in seconds; as milliseconds it would be before there was OAuth.
            (whole, _) if YEAR_9999.contains(&whole) => Expiry::Never,
            (whole, _) if whole.abs() >= MILLISECONDS_FROM => match whole.div_euclid(1000) {
                seconds if YEAR_9999.contains(&seconds) => Expiry::Never,
                seconds => Expiry::At(seconds),
            },
            (whole, _) => Expiry::At(whole),
        };
    }
    if text.eq_ignore_ascii_case("infinity") {
        return Expiry::Never;
    }
    DateTime::parse_from_rfc3339(text).map_or(Expiry::Unreadable, |date| expiry_in(date.timestamp()))
}

/// A time says what it means, and is no number of milliseconds.
fn expiry_at(time: i64) -> Expiry {
    match time {
        i64::MAX => Expiry::Never,
        i64::MIN => Expiry::Unreadable,
        time => match time.div_euclid(MICROSECONDS) + EPOCH / MICROSECONDS {
            0 => Expiry::Unknown,
            seconds => expiry_in(seconds),
        },
    }
}

fn expiry_in(seconds: i64) -> Expiry {
    if seconds >= *YEAR_9999.start() {
        Expiry::Never
    } else {
        Expiry::At(seconds)
    }
}

/// A whole number and the millionths after it.
fn split_number(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 40 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    let millionths: i64 = padded.parse().ok()?;
    Some(if whole.starts_with('-') && millionths > 0 {
        (number.checked_sub(1)?, 1_000_000 - millionths)
    } else {
        (number, millionths)
    })
}

/// Orders rows: a time in microseconds, infinities at the ends, or the source's own number as it is.
fn version(text: &str, form: Form) -> Option<Version> {
    let version = match text {
        _ if form == Form::Integer => text.parse().ok(),
        "Infinity" => Some(i64::MAX),
        "-Infinity" => Some(i64::MIN),
        _ => split_number(text).map(|(whole, millionths)| {
            // Too large for millionths of it: a column of such numbers counts in millionths, or in less, already.
            let millions = whole.checked_mul(1_000_000);
            millions
                .and_then(|number| number.checked_add(millionths))
                .unwrap_or(whole)
        }),
    };
    // What is no number ("NaN") is newer than nothing and older than nothing.
    version.map(|version| Version::new(Some(version)))
}

/// The same of a time as the database counts it.
fn version_at(time: i64) -> Version {
    Version::new(Some(match time {
        i64::MIN => time,
        _ => time.saturating_add(EPOCH),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_expiry() {
        for (text, expected) in [
            ("1700000000", Expiry::At(1_700_000_000)),
            ("1700000000.999999", Expiry::At(1_700_000_000)),
            ("1700000000123", Expiry::At(1_700_000_000)),
            ("1700000000123.5", Expiry::At(1_700_000_000)),
            ("-0.5", Expiry::At(-1)),
            ("0", Expiry::Unknown),
            ("2023-11-14T22:13:20Z", Expiry::At(1_700_000_000)),
            ("2023-11-14T23:13:20+01:00", Expiry::At(1_700_000_000)),
            ("Infinity", Expiry::Never),
            ("infinity", Expiry::Never),
            ("-Infinity", Expiry::Unreadable),
            ("-1", Expiry::Never),
            ("-1.5", Expiry::At(-2)),
            ("253402300799", Expiry::Never),
            ("253402300799999", Expiry::Never),
            ("9223372036854775807", Expiry::Never),
            ("9999-12-31T23:59:59Z", Expiry::Never),
            ("1790000000000000", Expiry::At(1_790_000_000_000)),
            ("tomorrow", Expiry::Unreadable),
            ("1.2.3", Expiry::Unreadable),
            ("99999999999999999999", Expiry::Unreadable),
        ] {
            assert_eq!(expiry(text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_as_its_seconds_since_1970_would_be_but_never_as_milliseconds() {
        let since_2000 = |microseconds: i64| microseconds - EPOCH;
        let never = since_2000(253_402_300_799_000_000);
        assert_eq!(expiry_at(never), Expiry::Never);
        let far = since_2000(200_000_000_000_000_000);
        assert_eq!(expiry_at(far), Expiry::At(200_000_000_000));
        for (time, seconds, microseconds) in [
            (
                since_2000(1_700_000_000_999_999),
                "1700000000.999999",
                1_700_000_000_999_999,
            ),
            (since_2000(0), "0.000000", 0),
            (since_2000(-500_000), "-0.500000", -500_000),
            (i64::MAX, "Infinity", i64::MAX),
            (i64::MIN, "-Infinity", i64::MIN),
        ] {
            assert_eq!(expiry_at(time), expiry(seconds), "{seconds}");
            assert_eq!(
                Some(version_at(time)),
                version(seconds, Form::Number),
                "{seconds}"
            );
            assert_eq!(version_at(time).get(), Some(microseconds), "{seconds}");
        }
    }

    #[test]
    fn versions_order_as_their_times_do() {
        let ordered = [
            "-Infinity",
            "-1.5",
            "-1.000000",
            "0",
            "1700000000.123455",
            "1700000000.123456",
            "Infinity",
        ];
        for pair in ordered.windows(2) {
            assert!(
                version(pair[0], Form::Number) < version(pair[1], Form::Number),
                "{pair:?}"
            );
        }
        let nanoseconds =
            ["1700000000123456788", "1700000000123456789"].map(|text| version(text, Form::Integer));
        assert!(nanoseconds[0] < nanoseconds[1]);
        let microseconds = ["1760000000000000", "1760000000000001"].map(|text| version(text, Form::Number));
        assert!(microseconds[0] < microseconds[1]);
        assert_eq!(version("NaN", Form::Number), None);
    }
}
