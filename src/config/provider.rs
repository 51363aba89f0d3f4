//! [source.provider]: tokens that Descope keeps of social logins, in place of those that the rows lack.

use config::ValueKind;

use super::{
    columns::{Expression, Field, Mapping},
    reader::Reader,
};

/// How tokens are had that Descope itself keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Which token goes up where there are two.
    pub prefer: Prefer,
    /// Whether the provider is made to renew each token before it is handed out.
    pub force_refresh: bool,
    /// Part of what makes a row count as changed: with another text, every token is fetched again.
    pub revision: String,
}

/// Which of two tokens goes up: the row's own, or the one that Descope keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// A token in the columns; one is fetched only where there is none.
    Columns,
    /// The fetched one; a token in the columns only where there is none to be fetched.
    Provider,
}

/// Reads the section: the settings, and how a row names its provider. `None` if nothing of it is set, or if it is wrong.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<(ProviderSettings, Mapping)> {
    let key = Field::Provider.key();
    let others = ["prefer", "force_refresh", "revision"].map(|name| format!("source.provider.{name}"));
    let mapping = mapping(reader, &key);
    let prefer = reader.word(
        &others[0],
        [("columns", Prefer::Columns), ("provider", Prefer::Provider)],
    );
    let force_refresh = reader.flag(&others[1]);
    let revision = reader.text(&others[2]).unwrap_or_default();
    if reader.value(&key).is_none() && others.iter().any(|other| reader.value(other).is_some()) {
        reader.problem(
            key,
            "is missing: name the provider, such as \"google\" (or { column = \"provider\" })",
        );
    }
    let settings = ProviderSettings {
        prefer,
        force_refresh,
        revision,
    };
    Some((settings, mapping?))
}

/// A name that is every row's, or a table that says where the row has it.
fn mapping(reader: &mut Reader<'_>, key: &str) -> Option<Mapping> {
    let is_table = matches!(
        reader.value(key).map(|value| &value.kind),
        Some(ValueKind::Table(_))
    );
    if !is_table {
        let name = reader.text(key)?;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            reader.problem(
                key,
                "must be a provider's name, such as \"google\", or { column = \"provider\" }",
            );
            return None;
        }
        let literal = format!("'{}'::text", name.trim().replace('\'', "''"));
        return Some(Expression::Sql(literal).into());
    }
    reader.forget(key);
    let inner = |name: &str| format!("{key}.{name}");
    let column = reader
        .text(&inner("column"))
        .filter(|name| !name.trim().is_empty());
    let sql = reader.sql(&inner("sql")).filter(|sql| !sql.trim().is_empty());
    for name in ["column", "sql"] {
        reader.alternative(&inner(name));
    }
    match (column, sql) {
        (Some(name), None) => Some(Expression::Column(name).into()),
        (None, Some(sql)) => Some(Expression::Sql(sql).into()),
        _ => {
            reader.problem(
                key,
                "must hold either `column` (a column's name) or `sql` (an expression)",
            );
            None
        }
    }
}
