//! A mapping: one line of `[source.columns]`, a column name or a table.

use config::ValueKind;

use super::{
    columns::{Decryption, Expression, Field, Mapping, Pick},
    decrypt::{Recorded, SharedFormats, Wanted, accepts_plain},
    reader::Reader,
};
use crate::decrypt::Companion;

/// Keys whose values are secrets, or may contain some.
const HIDDEN: [&str; 2] = ["keys", "sql"];

/// The keys of a mapping that is a table.
pub(super) const KEYS: [&str; 14] = [
    "column",
    "sql",
    "decrypt",
    "keys",
    "plain",
    "nonce",
    "tag",
    "salt",
    "context",
    "json",
    "form",
    "strip_prefix",
    "since",
    "separator",
];

/// Where a mapping stands.
pub(super) struct Place<'a> {
    pub(super) shared: &'a SharedFormats,
    /// The name of the source's table, if it is one.
    pub(super) table: Option<&'a str>,
}

/// Reads the mapping of `field`; `None` if it is absent or wrong.
pub(super) fn read(reader: &mut Reader<'_>, field: Field, place: &Place<'_>) -> Option<Mapping> {
    let key = field.key();
    if is_table(reader, &key) {
        // For a table, only the inner keys are known keys.
        reader.forget(&key);
        return table(reader, field, &key, place);
    }
    column(reader, &key).map(Mapping::from)
}

fn is_table(reader: &mut Reader<'_>, key: &str) -> bool {
    matches!(
        reader.value(key).map(|value| &value.kind),
        Some(ValueKind::Table(_))
    )
}

/// Reads a column name.
fn column(reader: &mut Reader<'_>, key: &str) -> Option<Expression> {
    let name = reader.text(key)?;
    if name.trim().is_empty() {
        reader.problem(
            key,
            "must be a column name or { sql = \"expression\" }; leave it out if there is none",
        );
        return None;
    }
    Some(Expression::Column(name))
}

/// Reads `column` or `sql` of a table.
fn expression(reader: &mut Reader<'_>, key: &str) -> Option<Expression> {
    let column = reader
        .text(&format!("{key}.column"))
        .filter(|name| !name.trim().is_empty());
    let sql_key = format!("{key}.sql");
    let sql = reader.sql(&sql_key).filter(|sql| !sql.trim().is_empty());
    match (column, sql) {
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
            reader.problem(sql_key, "cannot be combined with `column`: set only one of them");
            None
        }
    }
}

fn table(reader: &mut Reader<'_>, field: Field, key: &str, place: &Place<'_>) -> Option<Mapping> {
    for name in KEYS {
        // Reads all keys, so that a misspelt one gets a suggestion.
        let inner = format!("{key}.{name}");
        if HIDDEN.contains(&name) {
            // Before anything can go wrong: reports show what is known, and stop at no error.
            reader.hidden_value(&inner);
        } else {
            reader.value(&inner);
        }
        reader.alternative(&inner);
    }
    let before = reader.problem_count();
    let expression = expression(reader, key);
    let decrypt = decryption(reader, field, key, expression.as_ref(), place);
    let mut mapping = Mapping {
        decrypt: decrypt.ok()?,
        ..Mapping::from(expression?)
    };
    mapping.pick = pick(reader, field, key);
    mapping.strip_prefix = strip_prefix(reader, field, key);
    mapping.separator = separator(reader, field, key);
    mapping.since = since(reader, field, key, place, &mapping).map(Box::new);
    (reader.problem_count() == before).then_some(mapping)
}

/// Reads `json` and `form`.
fn pick(reader: &mut Reader<'_>, field: Field, key: &str) -> Option<Pick> {
    let (json_key, form_key) = (format!("{key}.json"), format!("{key}.form"));
    let json = reader.peek(&json_key).is_some().then(|| {
        let path = reader.path(&json_key).unwrap_or_default();
        if path.is_empty() || path.iter().any(String::is_empty) {
            let must = "must be the name of a member, such as \"access_token\", or the way to it: \"oauth.access_token\"";
            reader.problem(&json_key, must);
        }
        path
    });
    let form = reader.text(&form_key);
    if form.is_some() && field.is_compared() {
        reader.problem(
            form_key,
            "is not available for what the database compares: use { sql = \"…\" }",
        );
        return None;
    }
    if json.is_some() && field == Field::UpdatedAt {
        reader.problem(
            json_key,
            "is not available for what the database orders by: use { sql = \"…\" }",
        );
        return None;
    }
    match (json, form) {
        (Some(path), Some(name)) => Some(Pick::JsonOrForm(path, name)),
        (Some(path), None) => Some(Pick::Json(path)),
        (None, Some(name)) => Some(Pick::Form(name)),
        (None, None) => None,
    }
}

fn strip_prefix(reader: &mut Reader<'_>, field: Field, key: &str) -> Option<String> {
    let key = format!("{key}.strip_prefix");
    let prefix = reader.text(&key)?;
    if prefix.is_empty() || matches!(field, Field::AccessTokenExpiry | Field::UpdatedAt | Field::Scopes) {
        reader.problem(
            key,
            "must be the beginning of a text, and is not available for times and lists",
        );
        return None;
    }
    Some(prefix)
}

fn separator(reader: &mut Reader<'_>, field: Field, key: &str) -> Option<String> {
    let key = format!("{key}.separator");
    let text = reader.text(&key)?;
    if text.chars().count() == 1 && field == Field::Scopes {
        return Some(text);
    }
    reader.problem(key, "must be one character, and is only available for `scopes`");
    None
}

/// Reads `since`: a column, or a table that may leave out the column and its decryption if they are the same.
fn since(
    reader: &mut Reader<'_>,
    field: Field,
    key: &str,
    place: &Place<'_>,
    value: &Mapping,
) -> Option<Mapping> {
    let key = format!("{key}.since");
    reader.peek(&key)?;
    if field != Field::AccessTokenExpiry {
        reader.problem(key, "is only available for `access_token_expiry`");
        return None;
    }
    if !is_table(reader, &key) {
        return column(reader, &key).map(Mapping::from);
    }
    reader.forget(&key);
    let has = |reader: &Reader<'_>, name: &str| reader.peek(&format!("{key}.{name}")).is_some();
    if has(reader, "column") || has(reader, "sql") {
        let since = table(reader, field, &key, place)?;
        if since.since.is_some() {
            reader.problem(format!("{key}.since"), "counts from no other time");
            return None;
        }
        return Some(since);
    }
    let pick = pick(reader, field, &key);
    if pick.is_none() {
        reader.problem(
            &key,
            "must be a column, or name one with `column`, or a member of the same value with `json`",
        );
        return None;
    }
    Some(Mapping {
        expression: value.expression.clone(),
        decrypt: value.decrypt.clone(),
        pick,
        strip_prefix: None,
        since: None,
        separator: None,
    })
}

/// Returns the decryption of the field, if it has one.
fn decryption(
    reader: &mut Reader<'_>,
    field: Field,
    key: &str,
    expression: Option<&Expression>,
    place: &Place<'_>,
) -> Result<Option<Decryption>, Recorded> {
    let (name_key, own_key) = (format!("{key}.decrypt"), format!("{key}.keys"));
    let before = reader.problem_count();
    let Some(name) = reader.text(&name_key) else {
        let only_with_it = ["keys", "plain", "nonce", "tag", "salt", "context"];
        let stray = only_with_it.map(|name| format!("{key}.{name}"));
        if let Some(stray) = stray.into_iter().find(|key| reader.peek(key).is_some()) {
            reader.problem(
                stray,
                "needs `decrypt` next to it: the name of a format, such as \"fernet\"",
            );
        }
        return if reader.problem_count() > before {
            Err(Recorded)
        } else {
            Ok(None)
        };
    };
    if field.is_compared() {
        reader.problem(
            name_key,
            "is not available for what the database compares; it must be decrypted by the database: { sql = \"…\" }",
        );
        return Err(Recorded);
    }
    let wanted = Wanted {
        key: name_key,
        name,
        own_keys: reader.peek(&own_key).is_some().then_some(own_key),
        accepts_plain: accepts_plain(reader, key),
        expression,
        table: place.table,
    };
    let mut decryption = place.shared.decryption(reader, &wanted)?;
    decryption.companions = companions(reader, key, &decryption)?;
    if reader.problem_count() > before {
        return Err(Recorded);
    }
    Ok(Some(decryption))
}

/// Reads the columns beside the value that its format needs.
fn companions(
    reader: &mut Reader<'_>,
    key: &str,
    decryption: &Decryption,
) -> Result<Vec<(Companion, Expression)>, Recorded> {
    let format = decryption.decryptor.format();
    let mut found = Vec::new();
    for companion in Companion::ALL {
        let inner = format!("{key}.{}", companion.name());
        let is_read = format.companions().iter().any(|(read, _)| *read == companion);
        match (is_read, reader.peek(&inner).is_some()) {
            (false, true) => {
                reader.problem(inner, format!("is not read by the format \"{}\"", format.name()));
                return Err(Recorded);
            }
            (true, false) if decryption.decryptor.needs(companion) => {
                let must = format!(
                    "is missing: the format \"{}\" reads it from a column of its own",
                    format.name()
                );
                reader.problem(inner, must);
                return Err(Recorded);
            }
            (true, true) => {
                let expression = if is_table(reader, &inner) {
                    reader.forget(&inner);
                    expression(reader, &inner)
                } else {
                    column(reader, &inner)
                };
                found.push((companion, expression.ok_or(Recorded)?));
            }
            (_, false) => {}
        }
    }
    Ok(found)
}
