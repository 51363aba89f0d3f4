//! The selection of a run: the settings that decide which rows are read and what is sent.

use super::{Expression, Mapping, Pick, Prefer, Relation, RowSecurity, Settings};

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
        for column in &source.key {
            add("key", column.as_bytes());
        }
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
            add_mapping(&mut add, field.name(), mapping);
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

fn add_mapping<'a>(add: &mut impl FnMut(&'static str, &'a [u8]), field: &'static str, mapping: &'a Mapping) {
    add_expression(add, field, &mapping.expression);
    if let Some(decryption) = &mapping.decrypt {
        add("decrypt", decryption.decryptor.format().name().as_bytes());
        for (companion, expression) in &decryption.companions {
            add_expression(add, companion.name(), expression);
        }
    }
    let (json, form) = match &mapping.pick {
        Some(Pick::Json(path)) => (path.as_slice(), None),
        Some(Pick::Form(name)) => (&[][..], Some(name)),
        Some(Pick::JsonOrForm(path, name)) => (path.as_slice(), Some(name)),
        None => (&[][..], None),
    };
    for name in json {
        add("json", name.as_bytes());
    }
    let texts = [
        ("form", form),
        ("strip_prefix", mapping.strip_prefix.as_ref()),
        ("separator", mapping.separator.as_ref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            add(name, text.as_bytes());
        }
    }
    if let Some(since) = &mapping.since {
        add_mapping(add, "since", since);
    }
}

fn add_expression<'a>(
    add: &mut impl FnMut(&'static str, &'a [u8]),
    name: &'static str,
    expression: &'a Expression,
) {
    match expression {
        Expression::Column(column) => add(name, column.as_bytes()),
        Expression::Sql(sql) => {
            add(name, b"sql");
            add("sql", sql.as_bytes());
        }
    }
}
