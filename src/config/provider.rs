//! The `[source.provider]` section: tokens of social logins that Descope stores, for rows without tokens.

use config::ValueKind;

use super::{
    columns::{Expression, Field, Mapping},
    reader::Reader,
};

/// Settings for fetching tokens that Descope stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// The token to upload if there are two.
    pub prefer: Prefer,
    /// Makes the provider refresh each token before it is returned.
    pub force_refresh: bool,
    /// Part of the fingerprint: if this text changes, every token is fetched again.
    pub revision: String,
}

/// The preferred token: the row's own, or the one that Descope stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// The token in the columns; one is fetched only if the columns have none.
    Columns,
    /// The fetched one; the token in the columns only if none can be fetched.
    Provider,
}

/// Reads the section: the settings, and the mapping of the provider's name. `None` if nothing is set, or if
/// it is wrong.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<(ProviderSettings, Mapping)> {
    let key = Field::Provider.key();
    let others = ["prefer", "force_refresh", "revision"].map(|name| format!("source.provider.{name}"));
    let mapping = mapping(reader, &key);
    let prefer = reader.word(
        &others[0],
        [("columns", Prefer::Columns), ("provider", Prefer::Provider)],
    );
    let force_refresh = reader.flag(&others[1], false);
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

/// Reads a name for all rows, or a table that maps it.
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
                "must be the name of a provider, such as \"google\", or { column = \"provider\" }",
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
                "must contain either `column` (a column name) or `sql` (an expression)",
            );
            None
        }
    }
}
