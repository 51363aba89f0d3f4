//! The settings of the source: its rows and columns.

use std::time::Duration;

use config::ValueKind;

use super::{
    columns::{Columns, Expression, Field},
    decrypt::shared_formats,
    mapping::{self, Place},
    preset,
    provider::{self, ProviderSettings},
    reader::{Reader, Visibility},
};
use crate::{postgres::Address, secret::Secret};

/// A session setting that expressions may use, such as the key of `pgp_sym_decrypt`.
#[derive(Debug, Clone)]
pub struct SessionValue {
    /// The name, with a dot: Postgres reserves names without one.
    pub name: String,
    /// The value.
    pub value: Secret,
}

/// The relation that the rows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table or view: its name, optionally preceded by its schema.
    Table(Vec<String>),
    /// A query written by the user.
    Query(String),
}

/// The action if row-level security hides rows from the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSecurity {
    /// Nothing is read: a run that does not see every row would still call itself complete.
    Refuse,
    /// The policies select the rows.
    Allow,
}

/// All settings of the reader.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The database URL, which contains a password.
    pub url: Address,
    /// The relation that the rows are read from.
    pub relation: Relation,
    /// The names of the key's columns, at least one.
    pub key: Vec<String>,
    /// An SQL condition that rows must match.
    pub condition: Option<String>,
    /// The action if policies hide rows.
    pub row_security: RowSecurity,
    /// Rows per page.
    pub page_size: u32,
    /// The longest time for one page.
    pub statement_timeout: Duration,
    /// The settings of every session.
    pub session: Vec<SessionValue>,
    /// The mapped columns.
    pub columns: Columns,
    /// Settings for fetching tokens that Descope stores, for rows without tokens.
    pub provider: Option<ProviderSettings>,
}

/// The names of the source's table and columns, for reports.
#[derive(Debug, Clone)]
pub struct SourceShape {
    /// The relation that the rows are read from.
    pub relation: Relation,
    /// The names of the key's columns, at least one.
    pub key: Vec<String>,
    /// The mapped columns.
    pub columns: Columns,
    /// The ledger is in the same database.
    pub holds_ledger: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<SourceSettings> {
    let url = database_url(reader, "source.url");
    preset::read(reader);
    let relation = relation(reader);
    let key = key(reader);
    let condition = reader
        .sql("source.where")
        .filter(|condition| !condition.trim().is_empty());
    let row_security = reader.word(
        "source.row_security",
        [("refuse", RowSecurity::Refuse), ("allow", RowSecurity::Allow)],
    );
    let page_size = reader.number("source.page_size", 5000, 1);
    let statement_timeout = reader.duration("source.statement_timeout", Duration::from_secs(60));
    let session = session(reader);
    let (columns, provider) = columns(reader, relation.as_ref());
    let is_token = |field: &Field| {
        field.is_token()
            && columns.get(field).is_some_and(|mapping| {
                let names = key.iter().flatten();
                names
                    .cloned()
                    .map(Expression::Column)
                    .any(|column| column == mapping.expression)
            })
    };
    if let Some(field) = Field::COLUMNS.into_iter().find(is_token) {
        reader.problem(
            "source.key",
            format!(
                "is the column of `{}`: keys are stored in the ledger and shown, which tokens never may be",
                field.key()
            ),
        );
    }
    Some(SourceSettings {
        url: url?,
        relation: relation?,
        key: key?,
        condition,
        row_security,
        page_size,
        statement_timeout,
        session,
        columns,
        provider,
    })
}

fn key(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    const KEY: &str = "source.key";
    if !matches!(
        reader.peek(KEY).map(|value| &value.kind),
        Some(ValueKind::Array(_))
    ) {
        let must = "the name of a unique column of type integer, uuid or text (or a list, if several are unique together)";
        return reader.required(KEY, must).map(|column| vec![column]);
    }
    reader.value(KEY);
    reader.show(KEY, Visibility::Names);
    let columns = reader.path(KEY).unwrap_or_default();
    let is_twice = |name: &String| columns.iter().filter(|other| *other == name).count() > 1;
    if columns.is_empty()
        || columns
            .iter()
            .any(|name| name.trim().is_empty() || is_twice(name))
    {
        reader.problem(
            KEY,
            "must be a list of different column names, such as [\"provider\", \"account_id\"]",
        );
        return None;
    }
    Some(columns)
}

fn relation(reader: &mut Reader<'_>) -> Option<Relation> {
    let table = reader.text("source.table");
    let query = reader.sql("source.query");
    match (table, query) {
        (Some(table), None) => match table_name(&table) {
            Some(parts) => Some(Relation::Table(parts)),
            None => {
                reader.problem(
                    "source.table",
                    "must be the name of a table, such as \"tokens\" or \"public.tokens\"",
                );
                None
            }
        },
        (None, Some(query)) => Some(Relation::Query(
            query.trim().trim_end_matches(';').trim_end().to_owned(),
        )),
        (None, None) => {
            reader.problem(
                "source.table",
                "is missing: name the table with the tokens (or set `source.query`)",
            );
            None
        }
        (Some(_), Some(_)) => {
            reader.problem(
                "source.query",
                "cannot be combined with `source.table`: set only one of them",
            );
            None
        }
    }
}

/// Reads the names of the source; `None` if they are not configured.
pub(super) fn shape(reader: &mut Reader<'_>) -> Option<SourceShape> {
    let relation = relation(reader)?;
    let columns = columns(reader, Some(&relation)).0;
    Some(SourceShape {
        relation,
        key: key(reader)?,
        columns,
        holds_ledger: reader.value("ledger.url").is_none(),
    })
}

/// Reads a Postgres URL.
pub(super) fn database_url(reader: &mut Reader<'_>, key: &str) -> Option<Address> {
    let url = reader.required_secret(key, "a Postgres URL, such as \"env:SOURCE_DATABASE_URL\"");
    reader.show(key, Visibility::Address);
    match Address::parse(url?.reveal()) {
        Ok(address) => Some(address),
        Err(error) => {
            reader.problem(key, error.to_string());
            None
        }
    }
}

/// Splits `schema.table`; parts in double quotes may contain dots.
fn table_name(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.trim().chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                parts.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            '\0' => return None,
            _ => parts.last_mut()?.push(character),
        }
    }
    (!quoted && parts.len() <= 2 && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// Reads `[source.session]`, whose keys are free within the limits of Postgres.
fn session(reader: &mut Reader<'_>) -> Vec<SessionValue> {
    const KEY: &str = "source.session";
    let entries = reader.entries(KEY).unwrap_or_default();
    reader.show(KEY, Visibility::Hidden);
    let mut values = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if is_custom_setting(&name) {
            let value = Secret::new(value);
            values.push(SessionValue { name, value });
        } else {
            reader.problem(
                format!("{KEY}.{name}"),
                "must be a name of your own with a dot in it, such as \"tokenferry.key\"",
            );
        }
    }
    values
}

/// Returns true if Postgres accepts this as an undeclared setting: identifiers with dots between them.
fn is_custom_setting(name: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    name.len() < 64 && name.contains('.') && name.split('.').all(is_identifier)
}

/// Reads the columns, and the settings for tokens that are fetched instead.
fn columns(reader: &mut Reader<'_>, relation: Option<&Relation>) -> (Columns, Option<ProviderSettings>) {
    let shared = shared_formats(reader);
    let table = match relation {
        Some(Relation::Table(parts)) => parts.last().map(String::as_str),
        _ => None,
    };
    let place = Place {
        shared: &shared,
        table,
    };
    let mut columns = Columns::new();
    for field in Field::COLUMNS {
        if let Some(mapping) = mapping::read(reader, field, &place) {
            columns.insert(field, mapping);
        }
    }
    let provider = provider::read(reader).map(|(settings, name)| {
        columns.insert(Field::Provider, name);
        settings
    });
    let has = |field| columns.contains_key(&field);
    if !has(Field::App) {
        reader.problem(
            "source.columns.app",
            "is missing: map the column with the name of the app (for a single app: { sql = \"'google'\" })",
        );
    }
    if !has(Field::UserId) && !has(Field::LoginId) && !has(Field::TenantId) {
        reader.problem(
            "source.columns.user_id",
            "is missing: map `user_id` (or `login_id`), `tenant_id` or both",
        );
    }
    if provider.is_some() && !has(Field::LoginId) {
        reader.problem(
            "source.columns.login_id",
            "is missing: provider tokens are fetched by the user's login ID",
        );
    }
    if provider.is_none() && !has(Field::AccessToken) && !has(Field::RefreshToken) {
        reader.problem(
            "source.columns.access_token",
            "is missing: map `access_token`, `refresh_token` or both (or have them fetched: [source.provider])",
        );
    }
    (columns, provider)
}

#[cfg(test)]
mod tests {
    use super::{is_custom_setting, table_name};

    #[test]
    fn settings_of_ones_own_have_a_dot() {
        for good in ["tokenferry.key", "_a.b$1", "a.b.c"] {
            assert!(is_custom_setting(good), "{good}");
        }
        for bad in [
            "",
            "key",
            "search_path",
            ".key",
            "a.",
            "a..b",
            "a.1b",
            "a.b c",
            "a.b'; --",
            "a.é",
        ] {
            assert!(!is_custom_setting(bad), "{bad}");
        }
    }

    #[test]
    fn table_names_split_at_dots_outside_quotes() {
        assert_eq!(table_name("tokens").unwrap(), ["tokens"]);
        assert_eq!(table_name("public.tokens").unwrap(), ["public", "tokens"]);
        assert_eq!(table_name("\"we.ird\".\"a\"\"b\"").unwrap(), ["we.ird", "a\"b"]);
        for bad in ["", "a.b.c", ".a", "\"open", "a."] {
            assert!(table_name(bad).is_none(), "{bad}");
        }
    }
}
