//! The SQL of a page: what is selected, from what, in which order.
//!
//! All text that is not the user's own names its schema. Otherwise a role that may create objects in a schema
//! of the search path could add an operator or function that fits the types better, and would see the values.

use std::fmt::Write as _;

use super::{
    column_type::Form,
    key_columns::{Comparison, KeyColumns},
    row_hash::{ROW_HASH, row_hash},
};
use crate::{
    config::{Expression, Field, Pick, Relation, SourceSettings},
    decrypt::{Companion, Decryptor},
    postgres::quote_identifier,
};

/// A field, and how it travels.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) field: Field,
    pub(super) form: Form,
    /// The expression as it was configured, or what the database takes out of it.
    pub(super) raw: String,
    /// The same as text.
    pub(super) sql: String,
    /// The same, cut where it is too large to be read: see [`value_limit`](super::value_limit).
    pub(super) selected: String,
    /// The position of the value in the row, from 1. Fields of one document share it.
    pub(super) position: usize,
    /// The steps from the value to the field.
    pub(super) steps: Steps,
    /// The time that the value, a number of seconds, counts from.
    pub(super) since: Option<Box<Column>>,
}

/// The steps from a value as it travelled to the field that is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    pub(super) decrypt: Option<Decrypt>,
    pub(super) pick: Option<Pick>,
    pub(super) strip_prefix: Option<String>,
    pub(super) separator: Option<char>,
}

/// A decryptor, and the companions that travel with its values.
#[derive(Debug, Clone)]
pub(super) struct Decrypt {
    pub(super) decryptor: Decryptor,
    pub(super) companions: Vec<Companion>,
}

impl Column {
    /// The column and the one that it counts from.
    fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.since.as_deref())
    }
}

/// The values that a row consists of, each only once, in the order of their positions, which are set in the
/// columns.
pub(super) fn assign_positions(columns: &mut [Column]) -> Vec<String> {
    let mut selected: Vec<String> = Vec::with_capacity(columns.len());
    let mut assign = |column: &mut Column| {
        let known = selected.iter().position(|sql| *sql == column.selected);
        column.position = 1 + known.unwrap_or_else(|| {
            selected.push(column.selected.clone());
            selected.len() - 1
        });
    };
    for column in columns {
        assign(column);
        if let Some(since) = &mut column.since {
            assign(since);
        }
    }
    selected
}

/// All that is needed to ask for a page. Made once the columns were checked.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) columns: Vec<Column>,
    select: String,
    /// The number of values that are selected, the key not counted.
    values: usize,
    pub(super) from: String,
    pub(super) key: KeyColumns,
    condition: Option<String>,
    /// The seed of a hash of each row, if one is selected.
    row_hash_seed: Option<i64>,
}

impl Plan {
    pub(super) fn new(settings: &SourceSettings, key: KeyColumns, mut columns: Vec<Column>) -> Self {
        let selected = assign_positions(&mut columns);
        let select = select_list(&key, selected.iter().map(String::as_str));
        Self {
            columns,
            select,
            values: selected.len(),
            from: from_clause(&settings.relation),
            key,
            condition: settings.condition.clone(),
            row_hash_seed: None,
        }
    }

    /// Selects a hash of each row with the row.
    pub(super) fn hash_rows(&mut self, seed: i64) {
        self.row_hash_seed = Some(seed);
    }

    /// Returns true if pages have a hash of each row.
    pub(super) fn has_row_hashes(&self) -> bool {
        self.row_hash_seed.is_some()
    }

    /// The text of everything that decides how a row is read.
    pub(super) fn description(&self) -> String {
        let steps: Vec<String> = self
            .columns
            .iter()
            .flat_map(Column::each)
            .map(|column| {
                let (field, position, steps) = (column.field, column.position, &column.steps);
                format!("{field:?} of {position} by {steps:?}")
            })
            .collect();
        format!(
            "{} from {}{}, with {}",
            self.select,
            self.from,
            self.filter(None),
            steps.join(", ")
        )
    }

    /// Returns the column of a field, if it is mapped.
    pub(super) fn column(&self, field: Field) -> Option<&Column> {
        self.columns.iter().find(|column| column.field == field)
    }

    /// The query for the page after a key (`$1`), or for the first page, up to another key (`$2`, or `$1`
    /// where there is no first). The limit stands in the text: as a parameter it would leave the planner to
    /// guess, and a wrong guess sorts the whole table for each page.
    pub(super) fn page(&self, bounds: Bounds, limit: u32) -> String {
        let page = format!(
            "select {} from {}{} order by {} limit {limit}",
            self.select,
            self.from,
            self.filter(self.within(bounds)),
            self.key.order()
        );
        match self.row_hash_seed {
            Some(seed) => format!(
                "select page.*, {} as \"{ROW_HASH}\" from ({page}) as page",
                row_hash("page", self.values, seed)
            ),
            None => page,
        }
    }

    /// The query for the keys of such a page, and for nothing else.
    pub(super) fn keys(&self, bounds: Bounds, limit: u32) -> String {
        format!(
            "select {} as \"tokenferry 0\" from {}{} order by {} limit {limit}",
            self.key.text(),
            self.from,
            self.filter(self.within(bounds)),
            self.key.order()
        )
    }

    /// The query for the digests of ranges (`$1` and `$2`: the keys before them and their last keys), in
    /// their order. The first of them may begin with the first row.
    pub(super) fn digests(&self, seed: i64) -> String {
        // A name that no table of a user's has.
        let (after, until) = ("\"tokenferry ranges\".after", "\"tokenferry ranges\".until");
        let is_until = self.key.compare(Comparison::UpTo, until);
        let within = format!("{} and {is_until}", self.key.compare(Comparison::After, after));
        let first = format!("{after} is null and {is_until}");
        // Apart, so that an index serves the ranges that have two ends.
        let rows = format!(
            "select {select} from {from}{} union all select {select} from {from}{}",
            self.filter(Some(within)),
            self.filter(Some(first)),
            select = self.select,
            from = self.from,
        );
        format!(
            "select digest.rows, digest.sum \
             from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) \
                  with ordinality as \"tokenferry ranges\" (after, until, position) \
                  cross join lateral (select pg_catalog.count(*) as rows, \
                  coalesce(pg_catalog.sum({}), 0::pg_catalog.numeric)::pg_catalog.text as sum from ({rows}) as page) as digest \
             order by position",
            row_hash("page", self.values, seed),
        )
    }

    /// The query for the positions of those ranges (`$1` and `$2`: the keys before them and their last keys)
    /// that have one of the keys in `$3`.
    pub(super) fn ranges_with(&self) -> String {
        let is_after = self
            .key
            .compare_texts(Comparison::After, "keys.key", "ranges.after");
        let is_until = self
            .key
            .compare_texts(Comparison::UpTo, "keys.key", "ranges.until");
        format!(
            "select distinct ranges.position \
             from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) \
                  with ordinality as ranges (after, until, position), \
                  pg_catalog.unnest($3::pg_catalog.text[]) as keys (key) \
             where (ranges.after is null or {is_after}) and {is_until}"
        )
    }

    /// The query for one row by its key (`$1`, as text), with null in place of some fields.
    pub(super) fn row_without(&self, fields: &[Field]) -> String {
        let filter = self.filter(Some(self.key.compare(Comparison::Equal, "$1")));
        let mut values: Vec<&str> = Vec::new();
        for column in self.columns.iter().flat_map(Column::each) {
            if values.len() < column.position {
                values.push("null::pg_catalog.text");
            }
            // A value that another field needs as well stays.
            if !fields.contains(&column.field) {
                values[column.position - 1] = &column.selected;
            }
        }
        format!(
            "select {} from {}{filter}",
            select_list(&self.key, values.into_iter()),
            self.from
        )
    }

    /// The query that fails if a text (`$1`) has another type than the key.
    pub(super) fn typed_key(&self) -> String {
        format!("select {}", self.key.typed("$1").join(", "))
    }

    /// The query for rows by their keys (`$1`, as texts).
    pub(super) fn rows(&self) -> String {
        let filter = self.filter(Some(self.key.is_among("$1")));
        format!(
            "select {} from {}{filter} order by {}",
            self.select,
            self.from,
            self.key.order()
        )
    }

    /// The condition that a row's key comes after the one in a parameter.
    pub(super) fn is_after(&self, parameter: &str) -> String {
        self.key.compare(Comparison::After, parameter)
    }

    fn within(&self, bounds: Bounds) -> Option<String> {
        let is_until = |parameter| self.key.compare(Comparison::UpTo, parameter);
        match (bounds.after, bounds.until) {
            (false, false) => None,
            (true, false) => Some(self.is_after("$1")),
            (false, true) => Some(is_until("$1")),
            (true, true) => Some(format!("{} and {}", self.is_after("$1"), is_until("$2"))),
        }
    }

    /// The `where` clause of the configured condition and another one; empty if there is neither.
    pub(super) fn filter(&self, another: Option<String>) -> String {
        let configured = self.condition.as_deref().map(parenthesize);
        let conditions: Vec<_> = configured.into_iter().chain(another).collect();
        if conditions.is_empty() {
            String::new()
        } else {
            format!(" where {}", conditions.join(" and "))
        }
    }
}

/// The bounds that a page has: a key before it, a last key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) after: bool,
    pub(super) until: bool,
}

impl Bounds {
    pub(super) const NONE: Self = Self {
        after: false,
        until: false,
    };
}

/// Named out of the way: `order by "id"` means an output column of that name before it means the table's.
pub(super) fn select_list<'a>(key: &KeyColumns, columns: impl Iterator<Item = &'a str>) -> String {
    let mut list = format!("{} as \"tokenferry 0\"", key.text());
    for (position, sql) in columns.enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(list, ", {sql} as \"tokenferry {}\"", position + 1);
    }
    list
}

/// Closed by a line break, in case the user's text ends in a comment.
pub(super) fn parenthesize(sql: &str) -> String {
    format!("({sql}\n)")
}

pub(super) fn from_clause(relation: &Relation) -> String {
    match relation {
        Relation::Table(parts) => parts
            .iter()
            .map(|part| quote_identifier(part))
            .collect::<Vec<_>>()
            .join("."),
        Relation::Query(query) => format!("{} as source", parenthesize(query)),
    }
}

pub(super) fn expression(expression: &Expression) -> String {
    match expression {
        Expression::Column(name) => quote_identifier(name),
        Expression::Sql(sql) => parenthesize(sql),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        postgres::Address,
        reader::{column_type::KeyType, key_columns::KeyColumn},
    };

    fn plan(relation: Relation, condition: Option<&str>) -> Plan {
        let settings = SourceSettings {
            url: Address::parse("postgres://localhost/x").unwrap(),
            relation,
            key: vec!["Id".into()],
            condition: condition.map(Into::into),
            row_security: crate::config::RowSecurity::Refuse,
            page_size: 10,
            statement_timeout: std::time::Duration::from_secs(1),
            session: Vec::new(),
            columns: crate::config::Columns::new(),
            provider: None,
        };
        let column = Column {
            field: Field::App,
            form: Form::Text,
            raw: "\"provider\"".into(),
            sql: "(\"provider\")::pg_catalog.text".into(),
            selected: "(\"provider\")::pg_catalog.text".into(),
            position: 0,
            steps: Steps::default(),
            since: None,
        };
        let key = KeyColumn {
            name: "\"Id\"".into(),
            key_type: KeyType::Uuid,
        };
        Plan::new(&settings, KeyColumns::new(vec![key]), vec![column])
    }

    #[test]
    fn pages_of_a_table_and_of_a_query() {
        let table = plan(
            Relation::Table(vec!["public".into(), "T".into()]),
            Some("a or b -- why"),
        );
        assert_eq!(
            table.page(
                Bounds {
                    after: true,
                    until: false
                },
                7
            ),
            "select \"Id\"::pg_catalog.text as \"tokenferry 0\", (\"provider\")::pg_catalog.text as \"tokenferry 1\" \
             from \"public\".\"T\" where (a or b -- why\n) \
             and \"Id\" operator(pg_catalog.>) $1::pg_catalog.text::pg_catalog.uuid order by \"Id\" limit 7"
        );
        let query = plan(Relation::Query("select 1".into()), None);
        assert_eq!(
            query.page(Bounds::NONE, 7),
            "select \"Id\"::pg_catalog.text as \"tokenferry 0\", (\"provider\")::pg_catalog.text as \"tokenferry 1\" \
             from (select 1\n) as source order by \"Id\" limit 7"
        );
    }
}
