//! The JSON Schema of a configuration file, for editors that complete and check TOML.
//!
//! Made from the example, which explains every key: the configuration is read key by key, so there are no
//! types from which a schema could be derived.

use serde_json::{Map, Value, json};

use super::{
    columns::Field,
    example::{ExampleKey, example_tables},
    mapping::KEYS,
    preset::presets,
};

/// Returns the schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut root = table("");
    for example in example_tables() {
        for group in &example.groups {
            for key in &group.keys {
                if !is_free(&example.name) {
                    insert(&mut root, &key.key, leaf(key, &group.about));
                }
            }
        }
        if is_free(&example.name) {
            let free = json!({
                "type": "object",
                "description": example.about,
                "additionalProperties": { "type": "string" },
            });
            insert(&mut root, &example.name, free);
        } else if !example.name.is_empty() {
            describe(&mut root, &example.name, &example.about);
        }
    }
    let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    if let Some(Value::Object(preset)) = find(&mut root, "source.preset") {
        preset.insert("enum".to_owned(), json!(names));
    }
    if let Some(Value::Object(decrypt)) = find(&mut root, "source.decrypt") {
        let format = json!({ "anyOf": [text(), list(), { "type": "object" }] });
        decrypt.insert("additionalProperties".to_owned(), format);
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("tokenferry.toml");
    root
}

/// Tells whether the keys of a table are the user's.
fn is_free(table: &str) -> bool {
    matches!(table, "apps" | "source.session")
}

fn table(about: &str) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": false, "properties": {} })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn list() -> Value {
    json!({ "type": "array", "items": text() })
}

/// A key with its meaning. Every value may also be a text: `env:NAME` or `file:/path`.
fn leaf(key: &ExampleKey, about: &str) -> Value {
    let example: Option<toml::Table> = toml::from_str(&key.line).ok();
    let value = example
        .and_then(|table| table.into_iter().next())
        .map(|(_, value)| value);
    let mut schema = match value {
        _ if Field::COLUMNS.iter().any(|field| field.key() == key.key) => {
            json!({ "anyOf": [text(), mapping()] })
        }
        _ if key.key == "source.provider.provider" => json!({ "anyOf": [text(), mapping()] }),
        _ if key.key == "source.key" => json!({ "anyOf": [text(), list()] }),
        Some(toml::Value::Integer(_)) => json!({ "type": ["integer", "string"] }),
        Some(toml::Value::Boolean(_)) => json!({ "type": ["boolean", "string"] }),
        Some(toml::Value::Array(_)) => json!({ "anyOf": [list(), text()] }),
        _ => text(),
    };
    schema["description"] = json!(about);
    schema
}

/// A table that says how a field is derived.
fn mapping() -> Value {
    let properties: Map<String, Value> = KEYS
        .iter()
        .map(|&name| {
            let value = match name {
                "keys" | "json" => json!({ "anyOf": [text(), list()] }),
                "nonce" | "tag" | "salt" | "context" | "since" => {
                    json!({ "anyOf": [text(), { "type": "object" }] })
                }
                "plain" => json!({ "enum": ["refuse", "accept"] }),
                _ => text(),
            };
            (name.to_owned(), value)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// Puts a schema in place, and tables on the way to it.
fn insert(root: &mut Value, key: &str, schema: Value) {
    let (way, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = root;
    for part in way.split('.').filter(|part| !part.is_empty()) {
        at = &mut at["properties"][part];
        if at.is_null() {
            *at = table("");
        }
    }
    at["properties"][name] = schema;
}

fn describe(root: &mut Value, key: &str, about: &str) {
    if let Some(Value::Object(table)) = find(root, key) {
        table.insert("description".to_owned(), json!(about));
    }
}

fn find<'a>(root: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.')
        .try_fold(root, |at, part| at.get_mut("properties")?.get_mut(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::known_keys;

    #[test]
    fn the_schema_has_every_key_and_no_other() {
        fn leaves(schema: &Value, prefix: &str, found: &mut Vec<String>) {
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                match inner["properties"].as_object() {
                    Some(_) => leaves(inner, &key, found),
                    None => found.push(key),
                }
            }
        }
        let (mut found, mut known) = (Vec::new(), known_keys());
        leaves(&schema(), "", &mut found);
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn kinds_are_those_of_the_example() {
        let mut schema = schema();
        let mut kind = |key: &str| find(&mut schema, key).unwrap()["type"].clone();
        assert_eq!(kind("source.page_size"), json!(["integer", "string"]));
        assert_eq!(kind("api.timeout"), json!("string"));
        let mut schema = super::schema();
        let presets = find(&mut schema, "source.preset").unwrap();
        assert!(presets["enum"].as_array().unwrap().contains(&json!("keycloak")));
    }
}
