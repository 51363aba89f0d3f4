//! SQL for people: how to see rows of the source that a report names.

use super::{key_columns::values as key_values, plan::from_clause};
use crate::{
    config::{Expression, SourceShape},
    postgres::{quote_identifier, quote_literal},
};

/// Makes queries over the configured table or query. Tokens are not among what they select.
#[derive(Debug)]
pub struct RowsSql {
    select: String,
    /// The columns of the key, quoted.
    key: Vec<String>,
}

impl RowsSql {
    /// Queries over this source.
    #[must_use]
    pub fn new(shape: &SourceShape) -> Self {
        let key: Vec<String> = shape.key.iter().map(|name| quote_identifier(name)).collect();
        let mut columns = key.clone();
        for (field, mapping) in &shape.columns {
            let secret = field.is_token();
            let is_whole = mapping.pick.is_none() && mapping.decrypt.is_none();
            // Expressions are left out: what they are for is to be read in the configuration.
            if let (false, true, Expression::Column(name)) = (secret, is_whole, &mapping.expression) {
                let name = quote_identifier(name);
                if !columns.contains(&name) {
                    columns.push(name);
                }
            }
        }
        Self {
            select: format!(
                "select {} from {}",
                columns.join(", "),
                from_clause(&shape.relation)
            ),
            key,
        }
    }

    /// The rows with these keys. As literals without a type, they take on that of the column.
    #[must_use]
    pub fn among(&self, keys: &[String]) -> String {
        let literal = |key: &String| match self.key.as_slice() {
            [_] => quote_literal(key),
            _ => {
                let values = key_values(key).unwrap_or_else(|| vec![key.clone()]);
                let values: Vec<String> = values.iter().map(|value| quote_literal(value)).collect();
                format!("({})", values.join(", "))
            }
        };
        let list: Vec<String> = keys.iter().map(literal).collect();
        format!(
            "{} where {} in ({})",
            self.select,
            self.columns(""),
            list.join(", ")
        )
    }

    /// The rows whose keys a query in the same database gives, as texts.
    #[must_use]
    pub fn among_those_of(&self, query: &str) -> String {
        let text = self.columns("::text");
        match self.key.len() {
            1 => format!("{} where {text} in ({query})", self.select),
            count => {
                let values: Vec<String> = (0..count).map(|at| format!("key::jsonb ->> {at}")).collect();
                let values = values.join(", ");
                format!(
                    "{} where {text} in (select {values} from ({query}) as keys (key))",
                    self.select
                )
            }
        }
    }

    fn columns(&self, cast: &str) -> String {
        let columns: Vec<String> = self.key.iter().map(|name| format!("{name}{cast}")).collect();
        match columns.as_slice() {
            [column] => column.clone(),
            columns => format!("({})", columns.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Field;
    use crate::config::Relation;

    fn shape(relation: Relation) -> SourceShape {
        let column = |name: &str| Expression::Column(name.to_owned());
        let columns = [
            (Field::App, column("provider")),
            (Field::UserId, column("User")),
            (Field::TenantId, column("User")),
            (Field::AccessToken, column("access_token")),
            (Field::IdToken, column("id_token")),
            (Field::Scopes, Expression::Sql("decrypt(scope, 'key')".to_owned())),
        ];
        SourceShape {
            relation,
            key: vec!["Id".to_owned()],
            columns: columns
                .map(|(field, expression)| (field, expression.into()))
                .into(),
            holds_ledger: false,
        }
    }

    #[test]
    fn rows_are_named_by_quoted_keys_and_tokens_are_not_selected() {
        let table = RowsSql::new(&shape(Relation::Table(vec!["crm".into(), "tokens".into()])));
        assert_eq!(
            table.among(&["7".into(), "o'b".into()]),
            "select \"Id\", \"provider\", \"User\" from \"crm\".\"tokens\" where \"Id\" in ('7', 'o''b')"
        );
        let query = RowsSql::new(&shape(Relation::Query("select 1 -- why".into())));
        assert_eq!(
            query.among_those_of("select source_key from x"),
            "select \"Id\", \"provider\", \"User\" from (select 1 -- why\n) as source where \"Id\"::text in (select source_key from x)"
        );
    }

    #[test]
    fn keys_of_several_columns_are_compared_column_by_column() {
        let mut shape = shape(Relation::Table(vec!["account".into()]));
        shape.key = vec!["provider".to_owned(), "Account Id".to_owned()];
        let sql = RowsSql::new(&shape);
        assert_eq!(
            sql.among(&["[\"google\", \"o'b\"]".into(), "[\"x\", \"1\"]".into()]),
            "select \"provider\", \"Account Id\", \"User\" from \"account\" \
             where (\"provider\", \"Account Id\") in (('google', 'o''b'), ('x', '1'))"
        );
        assert_eq!(
            sql.among_those_of("select source_key from x"),
            "select \"provider\", \"Account Id\", \"User\" from \"account\" \
             where (\"provider\"::text, \"Account Id\"::text) in \
             (select key::jsonb ->> 0, key::jsonb ->> 1 from (select source_key from x) as keys (key))"
        );
    }
}
