//! The selection of a run: the settings that decide which rows are read and what is sent.

use super::{Expression, Field, Prefer, Relation, RowSecurity, Settings};

impl Settings {
    /// Returns all settings that decide which rows are read, in which order, their destinations and what is
    /// sent. A run that resumed with different ones would skip rows that were never read, and still be
    /// complete. Some parts are secret.
    #[must_use]
    pub fn selection(&self) -> Vec<&[u8]> {
        let source = &self.source;
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut add = |name: &'static str, value| {
            parts.push(name.as_bytes());
            parts.push(value);
        };
        match &source.relation {
            Relation::Table(name) => {
                for part in name {
                    add("table", part.as_bytes());
                }
            }
            Relation::Query(query) => add("query", query.as_bytes()),
        }
        add("key", source.key.as_bytes());
        if let Some(condition) = &source.condition {
            add("where", condition.as_bytes());
        }
        if source.row_security == RowSecurity::Allow {
            add("row_security", b"allow");
        }
        for setting in &source.session {
            add("session", setting.name.as_bytes());
            add("value", setting.value.reveal().as_bytes());
        }
        for (field, mapping) in &source.columns {
            match &mapping.expression {
                Expression::Column(name) => add(Field::name(*field), name.as_bytes()),
                Expression::Sql(sql) => {
                    add(Field::name(*field), b"sql");
                    add("sql", sql.as_bytes());
                }
            }
            if mapping.decrypt.is_some() {
                add("decrypt", b"");
            }
        }
        if let Some(provider) = &source.provider {
            let prefer: &[u8] = match provider.prefer {
                Prefer::Columns => b"columns",
                Prefer::Provider => b"provider",
            };
            add("prefer", prefer);
            add("revision", provider.revision.as_bytes());
        }
        let mut apps: Vec<(&str, &str)> = self.apps.iter().collect();
        apps.sort_unstable();
        for (name, id) in apps {
            add("app", name.as_bytes());
            add("id", id.as_bytes());
        }
        parts
    }
}
