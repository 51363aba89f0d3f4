//! Column types: which are accepted for the key and the fields, and the form in which their values travel.

use sqlx::{
    TypeInfo,
    postgres::{PgTypeInfo, PgTypeKind},
};

use crate::{config::Field, postgres::quote_identifier};

/// The type of a key column, for comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyType {
    Integer,
    /// A numeric, which must have no fraction: it is compared as a whole number.
    Number,
    Uuid,
    Text,
    /// `char(n)`, in which white space at the end does not count.
    Padded,
    /// A type outside the catalog, or one that is ordered in a way of its own: citext and enums.
    Named {
        /// The type, with its schema.
        sql: String,
        /// The schema of its operators.
        operators: String,
    },
}

impl KeyType {
    /// Returns the type of a column; `None` if it cannot be a key. `names` are the type's schema and own
    /// name, with domains looked through.
    pub(super) fn of(info: &PgTypeInfo, names: Option<(String, String)>) -> Option<Self> {
        let name = base_name(info);
        match name.as_str() {
            "INT2" | "INT4" | "INT8" => Some(Self::Integer),
            "NUMERIC" => Some(Self::Number),
            "UUID" => Some(Self::Uuid),
            "TEXT" | "VARCHAR" => Some(Self::Text),
            "CHAR" => Some(Self::Padded),
            "CITEXT" | "ENUM" => {
                let (schema, type_name) = names?;
                let (schema, type_name) = (quote_identifier(&schema), quote_identifier(&type_name));
                let operators = if name == "ENUM" {
                    "pg_catalog".to_owned()
                } else {
                    schema.clone()
                };
                Some(Self::Named {
                    sql: format!("{schema}.{type_name}"),
                    operators,
                })
            }
            _ => None,
        }
    }

    /// Tells whether `next` comes after `previous`. Texts are ordered by the database's collation, and enums
    /// by their own order, so for them only equality is noticed.
    pub(super) fn ascends(&self, previous: &str, next: &str) -> bool {
        match self {
            Self::Integer | Self::Number => {
                matches!((previous.parse::<i128>(), next.parse::<i128>()), (Ok(previous), Ok(next)) if previous < next)
            }
            Self::Uuid => previous < next,
            Self::Text | Self::Padded | Self::Named { .. } => previous != next,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }

    /// The type to which a key is cast; it travels as text.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Integer => "bigint",
            Self::Number => "pg_catalog.numeric",
            Self::Uuid => "pg_catalog.uuid",
            Self::Text => "pg_catalog.text",
            Self::Padded => "pg_catalog.bpchar",
            Self::Named { sql, .. } => sql,
        }
    }

    /// The schema of its operators.
    pub(super) fn operator_schema(&self) -> &str {
        match self {
            Self::Named { operators, .. } => operators,
            _ => "pg_catalog",
        }
    }
}

/// The form in which a value travels. All values but times are text on the wire, since that is the same for
/// every column type; the type only decides how the text is made and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Text,
    /// Bytes, as base64.
    Bytes,
    /// A time in the database's binary form: converting it to text and back would cost both sides more than
    /// the rest of the row without its tokens.
    Time,
    /// Seconds since 1970, with a fraction, or another number that may have one.
    Number,
    /// A whole number in the source's own unit.
    Integer,
    /// A JSON array.
    Json,
    /// Text that is a JSON array or a list with spaces or commas.
    List,
}

impl Form {
    /// Returns the form of a field in a column of this type and the SQL that selects it, or the requirement
    /// that the column does not meet.
    pub(super) fn of(field: Field, info: &PgTypeInfo) -> Result<(Self, &'static str), &'static str> {
        let name = base_name(info);
        let textual = is_textual(&name);
        let integer = matches!(name.as_str(), "INT2" | "INT4" | "INT8");
        match field {
            Field::AccessToken | Field::RefreshToken | Field::IdToken => match name.as_str() {
                _ if textual => Ok((Self::Text, "({})::pg_catalog.text")),
                "BYTEA" => Err(
                    "is bytea: say how it becomes text, such as { sql = \"convert_from(column, 'UTF8')\" }, or how it is \
                     decrypted",
                ),
                _ => Err("must be of a text type"),
            },
            Field::AccessTokenExpiry => match name.as_str() {
                "TIMESTAMPTZ" | "TIMESTAMP" => Ok((Self::Time, "({})")),
                "DATE" => Ok((Self::Time, "({})::pg_catalog.timestamp")),
                "NUMERIC" | "FLOAT4" | "FLOAT8" => Ok((Self::Number, "({})::pg_catalog.text")),
                _ if integer || textual => Ok((Self::Number, "({})::pg_catalog.text")),
                _ => {
                    Err("must be a timestamptz, a timestamp (taken as UTC), or epoch seconds or milliseconds")
                }
            },
            Field::UpdatedAt => match name.as_str() {
                "TIMESTAMPTZ" | "TIMESTAMP" => Ok((Self::Time, "({})")),
                "DATE" => Ok((Self::Time, "({})::pg_catalog.timestamp")),
                "NUMERIC" => Ok((Self::Number, "({})::pg_catalog.text")),
                _ if integer => Ok((Self::Integer, "({})::pg_catalog.text")),
                _ => Err("must be a timestamp or a number, so that a later one is greater"),
            },
            Field::Scopes => match name.as_str() {
                "TEXT[]" | "VARCHAR[]" | "CHAR[]" | "CITEXT[]" => {
                    Ok((Self::Json, "pg_catalog.array_to_json({})::pg_catalog.text"))
                }
                "JSON" | "JSONB" => Ok((Self::Json, "({})::pg_catalog.text")),
                _ if textual => Ok((Self::List, "({})::pg_catalog.text")),
                _ => Err("must be text[], a JSON array, or text separated by spaces or commas"),
            },
            _ if textual || integer || name == "UUID" => Ok((Self::Text, "({})::pg_catalog.text")),
            _ => Err("must be of a text, integer or uuid type"),
        }
    }

    /// The same of a column that holds documents or encrypted values.
    pub(super) fn of_document(
        info: &PgTypeInfo,
        is_encrypted: bool,
    ) -> Result<(Self, &'static str), &'static str> {
        match base_name(info).as_str() {
            "JSON" | "JSONB" => Ok((Self::Text, "({})::pg_catalog.text")),
            name if is_textual(name) => Ok((Self::Text, "({})::pg_catalog.text")),
            "BYTEA" if is_encrypted => Ok((Self::Bytes, "pg_catalog.encode({}, 'base64')")),
            _ if is_encrypted => Err("must be text, json, jsonb or bytea"),
            _ => Err("must be text, json or jsonb"),
        }
    }
}

fn is_textual(name: &str) -> bool {
    matches!(
        name,
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "CITEXT" | "ENUM" | "UNKNOWN"
    )
}

/// The type's name in upper case, with domains looked through.
pub(super) fn base_name(info: &PgTypeInfo) -> String {
    let info = base_type(info);
    match info.kind() {
        PgTypeKind::Enum(_) => "ENUM".to_owned(),
        // A type outside the search path has its schema before its name: that of an extension may be
        // anywhere.
        _ => match info.name().to_uppercase() {
            name if name.ends_with(".CITEXT") || name.ends_with(".CITEXT[]") => {
                name.rsplit('.').next().unwrap_or_default().to_owned()
            }
            name => name,
        },
    }
}

/// The type with domains looked through.
pub(super) fn base_type(info: &PgTypeInfo) -> &PgTypeInfo {
    match info.kind() {
        PgTypeKind::Domain(inner) => base_type(inner),
        _ => info,
    }
}
