//! The largest value that is read. A row is held in memory as a whole, and one of hundreds of megabytes would
//! take a multiple of that; so the database cuts such a value before it is sent, and its row fails.

use sqlx::postgres::PgTypeInfo;

use super::column_type::{Form, base_name};
use crate::config::Expression;

/// Far larger than any token, in bytes as the value travels.
pub(super) const LARGEST_VALUE: usize = 1 << 20;

/// Returns the SQL that selects a value of this form: `raw` is the configured expression, `sql` the same as
/// text. A value that is too large is cut, but not so far that it would pass: its first characters have at
/// most four bytes each.
pub(super) fn cut(form: Form, info: &PgTypeInfo, expression: &Expression, raw: &str, sql: &str) -> String {
    let beyond = LARGEST_VALUE + 1;
    match (form, expression) {
        // Of a known size.
        (Form::Time | Form::Integer, _) => sql.to_owned(),
        _ if matches!(
            base_name(info).as_str(),
            "INT2" | "INT4" | "INT8" | "FLOAT4" | "FLOAT8" | "NUMERIC" | "UUID"
        ) =>
        {
            sql.to_owned()
        }
        // In base64 it is larger than the limit.
        (Form::Bytes, _) => {
            format!("pg_catalog.encode(pg_catalog.substr({raw}, 1, {LARGEST_VALUE}), 'base64')")
        }
        // A column's size stands beside it. Cutting looks at each character, and so costs more than all the
        // rest of the query.
        (Form::Text | Form::Number | Form::List, Expression::Column(_)) => format!(
            "case when pg_catalog.octet_length({sql}) operator(pg_catalog.>) {LARGEST_VALUE} \
             then pg_catalog.left({sql}, {beyond}) else {sql} end"
        ),
        // Worked out once only: it may decrypt, or call whatever the user wrote.
        (Form::Text | Form::Number | Form::List | Form::Json, _) => cut_computed(sql),
    }
}

/// Cuts a text that is worked out once only.
pub(super) fn cut_computed(sql: &str) -> String {
    format!("pg_catalog.left({sql}, {})", LARGEST_VALUE + 1)
}
