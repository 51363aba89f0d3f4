//! The settings of the source: which rows, and which column means what.

use std::time::Duration;

use super::{
    columns::{Columns, Expression, Field},
    mapping,
    provider::{self, ProviderSettings},
    reader::{Reader, Visibility},
};
use crate::{postgres::Address, secret::Secret};

/// A setting of the session that expressions may ask for, such as the key of `pgp_sym_decrypt`.
#[derive(Debug, Clone)]
pub struct SessionValue {
    /// Its name, with a dot in it: Postgres keeps such names free.
    pub name: String,
    /// What it is set to.
    pub value: Secret,
}

/// What the rows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table or view: its name, with its schema before it if there is one.
    Table(Vec<String>),
    /// A query of the user's own.
    Query(String),
}

/// What is made of rows that row-level security hides from the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSecurity {
    /// Nothing is read then: a run that does not see every row would call itself complete.
    Refuse,
    /// The policies choose the rows.
    Allow,
}

/// Everything the reader needs.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Where the database is; carries a password.
    pub url: Address,
    /// What the rows are read from.
    pub relation: Relation,
    /// The name of the key column.
    pub key: String,
    /// An SQL condition that rows must meet.
    pub condition: Option<String>,
    /// Whether policies may leave rows out.
    pub row_security: RowSecurity,
    /// Rows per page.
    pub page_size: u32,
    /// How long one page may take the database.
    pub statement_timeout: Duration,
    /// What every session is given before it reads.
    pub session: Vec<SessionValue>,
    /// Which column means what.
    pub columns: Columns,
    /// How tokens are had that Descope itself keeps, where rows may lack theirs.
    pub provider: Option<ProviderSettings>,
}

/// What the rows of the source are called, for reports that name some of them.
#[derive(Debug, Clone)]
pub struct SourceShape {
    /// What the rows are read from.
    pub relation: Relation,
    /// The name of the key column.
    pub key: String,
    /// Which column means what.
    pub columns: Columns,
    /// The ledger is in the same database.
    pub holds_ledger: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<SourceSettings> {
    let url = database_url(reader, "source.url");
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
    let (columns, provider) = columns(reader);
    let is_token = |field: &Field| {
        matches!(field, Field::AccessToken | Field::RefreshToken | Field::IdToken)
            && columns.get(field).map(|mapping| &mapping.expression)
                == key.clone().map(Expression::Column).as_ref()
    };
    if let Some(field) = Field::COLUMNS.into_iter().find(is_token) {
        reader.problem(
            "source.key",
            format!(
                "names the column of `{}`: keys are kept in the ledger and shown, and tokens never may be",
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

fn key(reader: &mut Reader<'_>) -> Option<String> {
    reader.required(
        "source.key",
        "the name of a unique column of type integer, uuid or text",
    )
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
                    "must be a table's name, such as \"tokens\" or \"public.tokens\"",
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
                "is missing: name the table that holds the tokens (or give `source.query`)",
            );
            None
        }
        (Some(_), Some(_)) => {
            reader.problem(
                "source.query",
                "cannot stand beside `source.table`: give one of the two",
            );
            None
        }
    }
}

/// What the rows of the source are called; `None` where that is not configured.
pub(super) fn shape(reader: &mut Reader<'_>) -> Option<SourceShape> {
    Some(SourceShape {
        relation: relation(reader)?,
        key: key(reader)?,
        columns: columns(reader).0,
        holds_ledger: reader.value("ledger.url").is_none(),
    })
}

/// A Postgres URL.
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

/// Splits `schema.table`; parts in double quotes may hold dots.
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

/// `[source.session]`, whose keys are free as far as Postgres leaves them free.
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

/// Whether Postgres takes this for a setting that nobody declared: identifiers with dots between them.
fn is_custom_setting(name: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    name.len() < 64 && name.contains('.') && name.split('.').all(is_identifier)
}

/// What is had from the rows, and from elsewhere in their place.
fn columns(reader: &mut Reader<'_>) -> (Columns, Option<ProviderSettings>) {
    let shared = mapping::shared_keys(reader);
    let mut columns = Columns::new();
    for field in Field::COLUMNS {
        if let Some(mapping) = mapping::read(reader, field, &shared) {
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
            "is missing: the column with the app's name (for a single app: { sql = \"'google'\" })",
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
            "is missing: Descope is asked for a provider's token by the user's login ID",
        );
    }
    if provider.is_none() && !has(Field::AccessToken) && !has(Field::RefreshToken) {
        reader.problem(
            "source.columns.access_token",
            "is missing: map `access_token`, `refresh_token` or both (or let them be fetched: [source.provider])",
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
