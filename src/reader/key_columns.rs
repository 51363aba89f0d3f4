//! The key in SQL: one column or several, compared in the order of their indexes.
//!
//! A key is one text. Of one column it is the column's text; of several it is the JSON array of their texts,
//! in which no two keys can be confused.

use serde_json::Value;

use super::column_type::KeyType;

/// A column of the key.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    /// Its name, quoted.
    pub(super) name: String,
    pub(super) key_type: KeyType,
}

/// The columns of the key, at least one.
#[derive(Debug, Clone)]
pub(super) struct KeyColumns(Vec<KeyColumn>);

/// A comparison of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    After,
    UpTo,
    Equal,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::After => ">",
            Self::UpTo => "<=",
            Self::Equal => "=",
        }
    }
}

impl KeyColumns {
    pub(super) fn new(columns: Vec<KeyColumn>) -> Self {
        Self(columns)
    }

    /// The key as one text.
    pub(super) fn text(&self) -> String {
        match self.0.as_slice() {
            [column] => format!("{}::pg_catalog.text", column.name),
            columns => {
                let texts: Vec<String> = columns
                    .iter()
                    .map(|column| format!("{}::pg_catalog.text", column.name))
                    .collect();
                format!(
                    "pg_catalog.json_build_array({})::pg_catalog.text",
                    texts.join(", ")
                )
            }
        }
    }

    /// The columns in the order of the key.
    pub(super) fn order(&self) -> String {
        self.names().join(", ")
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|column| column.name.as_str()).collect()
    }

    /// What decides between rows of one destination that are equally new, as `SourceKey::is_after` has it:
    /// integers as numbers, everything else byte by byte.
    pub(super) fn tie_break(&self) -> String {
        match self.0.as_slice() {
            [column] if column.key_type.is_number() => column.name.clone(),
            _ => format!("{} collate pg_catalog.\"C\"", self.text()),
        }
    }

    /// The condition that compares a row's key with one that an expression gives as text.
    pub(super) fn compare(&self, comparison: Comparison, text: &str) -> String {
        let names: Vec<String> = self.0.iter().map(|column| column.name.clone()).collect();
        self.compare_typed(comparison, &names, &self.typed(text))
    }

    /// The condition that compares two keys that expressions give as text.
    pub(super) fn compare_texts(&self, comparison: Comparison, left: &str, right: &str) -> String {
        self.compare_typed(comparison, &self.typed(left), &self.typed(right))
    }

    /// The values of the columns in the text of a key.
    pub(super) fn typed(&self, text: &str) -> Vec<String> {
        match self.0.as_slice() {
            [column] => vec![format!("{text}::pg_catalog.text::{}", column.key_type.sql())],
            columns => columns
                .iter()
                .enumerate()
                .map(|(position, column)| {
                    format!(
                        "({text}::pg_catalog.text::pg_catalog.jsonb operator(pg_catalog.->>) {position})::{}",
                        column.key_type.sql()
                    )
                })
                .collect(),
        }
    }

    fn compare_typed(&self, comparison: Comparison, left: &[String], right: &[String]) -> String {
        let schemas: Vec<&str> = self
            .0
            .iter()
            .map(|column| column.key_type.operator_schema())
            .collect();
        let schema = schemas.first().copied().unwrap_or("pg_catalog");
        let symbol = comparison.symbol();
        match (left, right) {
            ([left], [right]) => format!("{left} operator({schema}.{symbol}) {right}"),
            // A comparison of rows, which an index over the columns serves.
            _ if schemas.iter().all(|other| *other == schema) => format!(
                "row({}) operator({schema}.{symbol}) row({})",
                left.join(", "),
                right.join(", ")
            ),
            _ => self.compare_one_by_one(comparison, left, right),
        }
    }

    /// The same where the columns' operators are in different schemas, which a comparison of rows cannot
    /// name.
    fn compare_one_by_one(&self, comparison: Comparison, left: &[String], right: &[String]) -> String {
        let one = |position: usize, symbol: &str| {
            let schema = self.0[position].key_type.operator_schema();
            format!(
                "{} operator({schema}.{symbol}) {}",
                left[position], right[position]
            )
        };
        let last = self.0.len() - 1;
        if comparison == Comparison::Equal {
            let all: Vec<String> = (0..=last).map(|position| one(position, "=")).collect();
            return format!("({})", all.join(" and "));
        }
        let (strict, bound) = match comparison {
            Comparison::After => (">", ">="),
            _ => ("<", "<="),
        };
        let mut condition = one(last, comparison.symbol());
        for position in (0..last).rev() {
            let (beyond, equal) = (one(position, strict), one(position, "="));
            condition = format!("({beyond} or ({equal} and {condition}))");
        }
        // What an index can be searched by.
        format!("({} and {condition})", one(0, bound))
    }

    /// The condition that a row has one of the keys that a parameter lists as texts.
    pub(super) fn is_among(&self, parameter: &str) -> String {
        match self.0.as_slice() {
            [column] if column.key_type.operator_schema() == "pg_catalog" => format!(
                "{} operator(pg_catalog.=) any ({parameter}::pg_catalog.text[]::{}[])",
                column.name,
                column.key_type.sql()
            ),
            _ => format!(
                "exists (select from pg_catalog.unnest({parameter}::pg_catalog.text[]) as \"tokenferry keys\" \
                 (\"tokenferry key\") where {})",
                self.compare(Comparison::Equal, "\"tokenferry key\"")
            ),
        }
    }

    /// Tells whether `next` comes after `previous`, as far as that can be told: see [`KeyType::ascends`].
    pub(super) fn ascends(&self, previous: &str, next: &str) -> bool {
        if let [column] = self.0.as_slice() {
            return column.key_type.ascends(previous, next);
        }
        let (Some(previous), Some(next)) = (values(previous), values(next)) else {
            return false;
        };
        let pairs = previous.iter().zip(&next);
        self.0
            .iter()
            .zip(pairs)
            .find(|(_, (previous, next))| previous != next)
            .is_some_and(|(column, (previous, next))| column.key_type.ascends(previous, next))
    }
}

/// The values in the text of a key of several columns; `None` if it is no such text.
pub(super) fn values(key: &str) -> Option<Vec<String>> {
    let Ok(Value::Array(values)) = serde_json::from_str(key) else {
        return None;
    };
    values
        .into_iter()
        .map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(columns: &[(&str, KeyType)]) -> KeyColumns {
        KeyColumns::new(
            columns
                .iter()
                .map(|(name, key_type)| KeyColumn {
                    name: format!("\"{name}\""),
                    key_type: key_type.clone(),
                })
                .collect(),
        )
    }

    fn citext() -> KeyType {
        KeyType::Named {
            sql: "\"ext\".\"citext\"".to_owned(),
            operators: "\"ext\"".to_owned(),
        }
    }

    #[test]
    fn several_columns_compare_as_rows_and_mixed_ones_one_by_one() {
        let rows = key(&[("provider", KeyType::Text), ("id", KeyType::Integer)]);
        assert_eq!(
            rows.compare(Comparison::After, "$1"),
            "row(\"provider\", \"id\") operator(pg_catalog.>) \
             row(($1::pg_catalog.text::pg_catalog.jsonb operator(pg_catalog.->>) 0)::pg_catalog.text, \
             ($1::pg_catalog.text::pg_catalog.jsonb operator(pg_catalog.->>) 1)::bigint)"
        );
        let mixed = key(&[("name", citext()), ("id", KeyType::Integer)]);
        let condition = mixed.compare_typed(
            Comparison::UpTo,
            &["a".to_owned(), "b".to_owned()],
            &["x".to_owned(), "y".to_owned()],
        );
        assert_eq!(
            condition,
            "(a operator(\"ext\".<=) x and (a operator(\"ext\".<) x or \
             (a operator(\"ext\".=) x and b operator(pg_catalog.<=) y)))"
        );
    }

    #[test]
    fn the_first_column_that_differs_decides_the_order() {
        let key = key(&[("a", KeyType::Integer), ("b", KeyType::Number)]);
        assert!(key.ascends("[\"1\", \"9\"]", "[\"1\", \"10\"]"));
        assert!(key.ascends("[\"1\", \"9\"]", "[\"2\", \"1\"]"));
        for (previous, next) in [
            ("[\"1\", \"9\"]", "[\"1\", \"9\"]"),
            ("[\"2\", \"1\"]", "[\"1\", \"9\"]"),
            ("[\"1\", \"9\"]", "[\"1\", \"9.5\"]"),
            ("[\"1\"", "[\"1\", \"9\"]"),
        ] {
            assert!(!key.ascends(previous, next), "{next}");
        }
    }
}
