//! A mapping: one line of `[source.columns]`, a column name or a table.

use config::ValueKind;

use super::{
    columns::{Expression, Field, Mapping},
    reader::Reader,
};
use crate::{
    decrypt::{Decryptor, Method},
    secret::Secret,
};

/// The keys of `[source.decrypt]`, for every column without keys of its own.
pub(super) struct SharedKeys {
    fernet: Option<Vec<Secret>>,
    aes_256_gcm: Option<Vec<Secret>>,
}

impl SharedKeys {
    fn of(&self, method: Method) -> Option<&[Secret]> {
        match method {
            Method::Fernet => self.fernet.as_deref(),
            Method::Aes256Gcm => self.aes_256_gcm.as_deref(),
        }
    }
}

const METHODS: [(&str, Method); 2] = [("fernet", Method::Fernet), ("aes-256-gcm", Method::Aes256Gcm)];

fn shared_key(method: Method) -> &'static str {
    match method {
        Method::Fernet => "source.decrypt.fernet",
        Method::Aes256Gcm => "source.decrypt.aes_256_gcm",
    }
}

/// Reads `[source.decrypt]`. Malformed keys are reported even if no column uses them.
pub(super) fn shared_keys(reader: &mut Reader<'_>) -> SharedKeys {
    let mut read = |method| {
        let key = shared_key(method);
        let keys = reader.secrets(key)?;
        decryptor(reader, key, method, &keys).map(|_| keys)
    };
    SharedKeys {
        fernet: read(Method::Fernet),
        aes_256_gcm: read(Method::Aes256Gcm),
    }
}

/// Reads the mapping of `field`; `None` if it is absent or wrong.
pub(super) fn read(reader: &mut Reader<'_>, field: Field, shared: &SharedKeys) -> Option<Mapping> {
    let key = field.key();
    let is_table = matches!(
        reader.value(&key).map(|value| &value.kind),
        Some(ValueKind::Table(_))
    );
    if is_table {
        // For a table, only the inner keys are known keys.
        reader.forget(&key);
        return table(reader, field, &key, shared);
    }
    let name = reader.text(&key)?;
    if name.trim().is_empty() {
        reader.problem(
            key,
            "must be a column name or { sql = \"expression\" }; leave it out if there is none",
        );
        return None;
    }
    Some(Expression::Column(name).into())
}

fn table(reader: &mut Reader<'_>, field: Field, key: &str, shared: &SharedKeys) -> Option<Mapping> {
    let inner = |name: &str| format!("{key}.{name}");
    let column = reader
        .text(&inner("column"))
        .filter(|name| !name.trim().is_empty());
    let sql = reader.sql(&inner("sql")).filter(|sql| !sql.trim().is_empty());
    for name in ["column", "sql", "decrypt", "keys"] {
        // Reads all keys, so that a misspelt one gets a suggestion.
        reader.value(&inner(name));
        reader.alternative(&inner(name));
    }
    let expression = match (column, sql) {
        (Some(name), None) => Some(Expression::Column(name)),
        (None, Some(sql)) => Some(Expression::Sql(sql)),
        (None, None) => {
            reader.problem(
                key,
                "must contain `column` (a column name) or `sql` (an expression)",
            );
            None
        }
        (Some(_), Some(_)) => {
            reader.problem(
                inner("sql"),
                "cannot be combined with `column`: set only one of them",
            );
            None
        }
    };
    let decrypt = decrypt(reader, field, key, shared);
    Some(Mapping {
        expression: expression?,
        decrypt: decrypt.ok()?,
    })
}

/// Marks a problem that is already recorded.
struct Noted;

/// Returns the decryptor of the field, if it has one.
fn decrypt(
    reader: &mut Reader<'_>,
    field: Field,
    key: &str,
    shared: &SharedKeys,
) -> Result<Option<Decryptor>, Noted> {
    let (method_key, own_key) = (format!("{key}.decrypt"), format!("{key}.keys"));
    let has_own = reader.value(&own_key).is_some();
    if reader.value(&method_key).is_none() {
        if has_own {
            reader.problem(
                own_key,
                "needs `decrypt` next to it: \"fernet\" or \"aes-256-gcm\"",
            );
            return Err(Noted);
        }
        return Ok(None);
    }
    let before = reader.problem_count();
    let method = reader.word(&method_key, METHODS);
    if reader.problem_count() > before {
        return Err(Noted);
    }
    if !matches!(field, Field::AccessToken | Field::RefreshToken | Field::IdToken) {
        reader.problem(
            method_key,
            "is only available for tokens; other columns must be decrypted by the database: { sql = \"…\" }",
        );
        return Err(Noted);
    }
    if has_own {
        let keys = reader.secrets(&own_key).ok_or(Noted)?;
        return decryptor(reader, &own_key, method, &keys).map(Some).ok_or(Noted);
    }
    let shared_key = shared_key(method);
    match shared.of(method) {
        Some(keys) => decryptor(reader, shared_key, method, keys).map(Some).ok_or(Noted),
        // Present but wrong: the problem is already recorded.
        None if reader.value(shared_key).is_some() => Err(Noted),
        None => {
            reader.problem(
                method_key,
                format!("needs keys: `keys` next to it, or `{shared_key}` for all columns"),
            );
            Err(Noted)
        }
    }
}

fn decryptor(reader: &mut Reader<'_>, key: &str, method: Method, keys: &[Secret]) -> Option<Decryptor> {
    match Decryptor::new(method, keys) {
        Ok(decryptor) => Some(decryptor),
        Err(bad) => {
            reader.problem(
                key,
                format!("{} (key {} of {})", bad.must, bad.position, keys.len()),
            );
            None
        }
    }
}
