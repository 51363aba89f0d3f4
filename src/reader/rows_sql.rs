//! SQL for people: how to see rows of the source that a report names.

use super::plan::from_clause;
use crate::{
    config::{Expression, Field, SourceShape},
    postgres::{quote_identifier, quote_literal},
};

/// Makes queries over the configured table or query. Tokens are not among what they select.
#[derive(Debug)]
pub struct RowsSql {
    select: String,
    key: String,
}

impl RowsSql {
    /// Queries over this source.
    #[must_use]
    pub fn new(shape: &SourceShape) -> Self {
        let key = quote_identifier(&shape.key);
        let mut columns = vec![key.clone()];
        for (field, mapping) in &shape.columns {
            let secret = matches!(field, Field::AccessToken | Field::RefreshToken | Field::IdToken);
            // Expressions are left out: what they are for is to be read in the configuration.
            if let (false, Expression::Column(name)) = (secret, &mapping.expression) {
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
        let list: Vec<String> = keys.iter().map(|key| quote_literal(key)).collect();
        format!("{} where {} in ({})", self.select, self.key, list.join(", "))
    }

    /// The rows whose keys a query in the same database gives, as texts.
    #[must_use]
    pub fn among_those_of(&self, query: &str) -> String {
        format!("{} where {}::text in ({query})", self.select, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            key: "Id".to_owned(),
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
}
